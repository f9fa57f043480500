import { AsyncLocalStorage } from "node:async_hooks";

/** A try of a step, from its beginning to its end. */
export interface StepTry {
  /** Numbers the tries over all workers of a run. */
  readonly stepTry: number;
  readonly step: string;
  /** Set once the step is given it. */
  idempotencyKey: string;
  ended: boolean;
}

/** The try that the running code belongs to. */
export const currentTry = new AsyncLocalStorage<StepTry>();

/** Told of each call of a function in the effects; makes the call, or does not. */
export type OnCall = (name: string, args: readonly unknown[], call: () => unknown) => unknown;

/** The same effects, with `onCall` around each function in them, at any depth. */
export const watchEffects = <Effects extends object>(effects: Effects, onCall: OnCall, path = ""): Effects =>
  new Proxy(effects, {
    get: (target, property) => {
      const value: unknown = Reflect.get(target, property);
      if (typeof property === "symbol" || value === null) return value;
      const name = `${path}${property}`;
      if (typeof value === "function") {
        return (...args: unknown[]) => onCall(name, args, () => Reflect.apply(value, target, args));
      }
      return typeof value === "object" ? watchEffects(value, onCall, `${name}.`) : value;
    },
  });
