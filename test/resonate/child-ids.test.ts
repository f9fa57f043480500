import assert from "node:assert/strict";
import { test } from "node:test";
import { checkpointId, continuationId } from "../../src/resonate/child-ids.ts";
import type { WorkflowContext } from "../../src/worker/job.ts";
import { playExecution } from "../helpers/unit-execution.ts";

test("ids of checkpoints and of continuations are those that the SDK makes", async (t) => {
  const steps = { note: async () => {} };
  const workflow = function* (
    ctx: WorkflowContext,
    input: unknown,
    first = 0,
  ): Generator<unknown, string, unknown> {
    yield* ctx.run(steps.note);
    yield* ctx.sleep(0);
    return first === 2 ? "done" : yield* ctx.continueAsNew(workflow, input, first + 1);
  };
  const id = "Maß 4711.b";
  const { requests } = await playExecution(t, { steps, workflow, envelope: { id } });
  const made = requests.flatMap((request) =>
    request.kind === "task.fence" && request.data.action.kind === "promise.create"
      ? [request.data.action.data.id]
      : [],
  );
  const second = continuationId(id, 2);
  const third = continuationId(second, 2);
  assert.deepEqual(
    [...new Set(made)],
    [
      ...[0, 1].map((position) => checkpointId(id, position)),
      second,
      ...[0, 1].map((position) => checkpointId(second, position)),
      third,
      ...[0, 1].map((position) => checkpointId(third, position)),
    ],
  );
});
