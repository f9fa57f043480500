import type { AnyJob, Step, StepContext } from "../worker/job.ts";
import { currentTry } from "./effects.ts";
import type { World } from "./world.ts";

/** A failure for good that the plan ordered. */
class OrderedFailure extends Error {
  readonly code = "ORDERED_FAILURE";
  readonly canRetry = false;
  override name = "OrderedFailure";
  constructor(step: string) {
    super(`step ${step} was made to fail`);
  }
}

/** The world's job, whose steps know that they are steps, and fail where the plan says so. */
export const watchJob = ({ job, plan, nextTry, onStrayEffect }: World): AnyJob => {
  let workflowsRunning = 0;

  const watchStep = (name: string, step: Step): Step => {
    return async (context: StepContext, ...args: unknown[]) => {
      // A workflow waits while its steps run: what it calls while it runs, it calls itself.
      if (workflowsRunning > 0) onStrayEffect(`step ${name}`);
      plan.count("steps");
      if (plan.strikes("fail-before")) throw new OrderedFailure(name);
      const failsAfter = plan.strikes("fail-after");
      const { idempotencyKey } = context;
      const tried = { stepTry: nextTry(), step: name, idempotencyKey, ended: false };
      try {
        const result = await currentTry.run(tried, () => step(context, ...args));
        if (failsAfter) throw new OrderedFailure(name);
        return result;
      } finally {
        tried.ended = true;
      }
    };
  };

  /** The same generator, and whether it is its code that runs. */
  function* watchWorkflow(body: Generator<unknown, unknown, unknown>): Generator<unknown, unknown, unknown> {
    let resume = () => body.next();
    for (;;) {
      let done: IteratorResult<unknown, unknown>;
      workflowsRunning += 1;
      try {
        done = resume();
      } finally {
        workflowsRunning -= 1;
      }
      if (done.done) return done.value;
      try {
        const value = yield done.value;
        resume = () => body.next(value);
      } catch (error) {
        resume = () => body.throw(error);
      }
    }
  }

  return {
    ...job,
    createSteps: (effects, tools, settings) =>
      Object.fromEntries(
        Object.entries(job.createSteps(effects, tools, settings)).map(([name, step]) => [
          name,
          watchStep(name, step),
        ]),
      ),
    createWorkflow: (steps, settings) => {
      const workflow = job.createWorkflow(steps, settings);
      return (context, input, ...rest) => watchWorkflow(workflow(context, input, ...rest));
    },
  };
};
