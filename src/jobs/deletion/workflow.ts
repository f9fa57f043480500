import type { Context } from "@resonatehq/sdk";
import { sleep } from "../../resonate/sleep.ts";
import { stepOptions, type WorkflowOptions } from "../../worker/step-options.ts";
import type { Steps } from "./steps.ts";

/** One Kafka message as the execution sees it: what the execution was started with stays so for its whole life. */
export interface RecordMessage {
  readonly recordId: string;
  /** Where the message stands in its topic. */
  readonly partition: number;
  readonly offset: string;
  /** 0 for a message of the topic, n when it comes back from the dead-letter topic for the n-th time. */
  readonly attempt: number;
  /** Milliseconds since 1970 after which no further batch is tried. */
  readonly deadline: number;
  /** Shapes the order of the steps, so a new setting holds for new executions only. */
  readonly batchesPerSegment: number;
}

/**
 * Makes the durable execution of one message: batch after batch until no row remains, then the completion.
 *
 * Each `yield*` is a checkpoint. After a crash the generator runs again from its top, on any worker: steps that
 * finished answer from their checkpoints, the first that did not runs. So it only orders steps. Time, randomness
 * and I/O stand in the steps.
 */
export const createWorkflow = (
  { deleteBatch, enqueueCompletion, enqueueDeadLetter }: Steps,
  options: WorkflowOptions,
) =>
  function* workflow(ctx: Context, record: RecordMessage, first = 0): Generator<unknown, string, unknown> {
    const { limited, untilDone, anyWorker } = stepOptions(ctx, options);
    const end = first + record.batchesPerSegment;

    try {
      for (let batch = first; batch < end; batch++) {
        const rowsRemain = yield* ctx.run(deleteBatch, record, batch, limited);
        if (!rowsRemain) {
          yield* ctx.run(enqueueCompletion, record, untilDone);
          return `workflow ${record.recordId} completed`;
        }
        yield* sleep(ctx, options.pauseMs);
      }
    } catch (error) {
      yield* ctx.run(enqueueDeadLetter, record, error, untilDone);
      throw error;
    }

    // A replay starts at the top, so a long record goes on in a fresh execution, whose top is here.
    const rest = yield* ctx.detached(workflow, record, end, anyWorker);
    return yield* rest;
  };
