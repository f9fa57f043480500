import { syncBuiltinESMExports } from "node:module";
import type { TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";

/** The real one, also while timers are mocked. */
const sleep = setTimeout;

/** Waits until `condition` holds, and fails once `withinMs` have passed. */
export const until = async (
  what: string,
  condition: () => boolean,
  withinMs = 5000,
  everyMs = 2,
): Promise<void> => {
  const deadline = performance.now() + withinMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`expected within ${withinMs} ms: ${what}`);
    await sleep(everyMs);
  }
};

/** Lets everything run that waits for nothing but its turn. */
export const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
};

/** Timers that stand still until they are moved: in modules that import them from `node:timers/promises`, too. */
export const mockTimers = (t: TestContext): { advance(ms: number): Promise<void> } => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.timers.reset();
    syncBuiltinESMExports();
  });
  return {
    advance: async (ms) => {
      await settle();
      t.mock.timers.tick(ms);
      await settle();
    },
  };
};
