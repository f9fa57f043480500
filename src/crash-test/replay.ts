import type { Context } from "@resonatehq/sdk";
import type { Steps, Workflow, WorkflowContext } from "../worker/job.ts";

/** The order of each execution's checkpoints, as its first pass had it. */
export interface Replays {
  /** Marks the execution that a workflow is called for next. */
  execution<Args extends unknown[]>(
    work: (ctx: Context, ...args: Args) => Generator<unknown, unknown, unknown>,
  ): (ctx: Context, ...args: Args) => Generator<unknown, unknown, unknown>;
  /** The workflow, watched. */
  workflow(workflow: Workflow<unknown>, steps: Steps): Workflow<unknown>;
}

/**
 * Compares each pass over a workflow with the ones before it, on whatever worker. The SDK does not: it matches a
 * checkpoint by its position alone, so that one step is given what another one returned.
 */
export const createReplays = (onDifference: (difference: string) => void): Replays => {
  const histories = new Map<string, string[]>();
  let current = "";

  const follow = (id: string) => {
    const history = histories.get(id) ?? [];
    histories.set(id, history);
    let position = 0;
    return (action: string) => {
      const before = history[position];
      history[position] = before ?? action;
      position += 1;
      if (before === undefined || before === action) return;
      onDifference(`checkpoint ${position} of ${id} was "${before}", and "${action}" on a replay`);
    };
  };

  return {
    execution: (work) =>
      function* execution(ctx, ...args) {
        current = ctx.id;
        return yield* work(ctx, ...args);
      },
    workflow: (workflow, steps) => {
      const names = new Map(Object.entries(steps).map(([name, step]) => [step, name]));
      return function* watched(context: WorkflowContext, input: unknown, ...rest: unknown[]) {
        // Nothing runs between the first step of the execution's generator and this one's.
        const note = follow(current);
        const noted: WorkflowContext = {
          run: (step, ...args) => {
            note(`run ${names.get(step)}`);
            return context.run(step, ...args);
          },
          sleep: (ms) => {
            note("sleep");
            return context.sleep(ms);
          },
          continueAsNew: (next, ...args) => {
            note("continueAsNew");
            return context.continueAsNew(next, ...args);
          },
        };
        const result = yield* workflow(noted, input, ...rest);
        note("return");
        return result;
      };
    },
  };
};
