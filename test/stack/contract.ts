import { randomUUID } from "node:crypto";
import type { TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

export const randomName = (prefix: string) => `${prefix}-${randomUUID()}`;

const undoings = new WeakMap<TestContext, AsyncDisposableStack>();

/** Like `t.after`, but last in, first out: clients take their leave before their broker stops. */
export const afterwards = (t: TestContext, undo: () => unknown): void => {
  const known = undoings.get(t);
  const stack = known ?? new AsyncDisposableStack();
  stack.defer(async () => {
    await undo();
  });
  if (known !== undefined) return;
  undoings.set(t, stack);
  t.after(() => stack.disposeAsync());
};

/** Waits for the condition; fails, saying what was awaited, when it does not hold in time. */
export const eventually = async (
  what: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs = 12_000,
): Promise<void> => {
  const deadline = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`after ${timeoutMs} ms still not: ${what}`);
    await delay(20);
  }
};
