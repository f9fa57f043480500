import { describe } from "../support/errors.ts";
import type { EffectCall, Scenario, Seen } from "./scenario.ts";

/** What can be wrong with a run. The first four are faults of the job, each with its name. */
export type FindingKind =
  /** An effect is keyed by something that is another one when its step is tried again. */
  | "key-of-random-or-time"
  | "effect-in-workflow"
  /** The checkpoints come in another order when the workflow is replayed. */
  | "unstable-order"
  /** A step does its effect anew when it is tried again. */
  | "step-not-idempotent"
  /** `expect` threw, for none of these reasons. */
  | "unexpected"
  /** The execution failed though no step was made to. */
  | "failed"
  /** A dead letter is not the message that came in. */
  | "dead-letter-differs"
  | "never-ends"
  /** Something is still running, or leased, at the end. */
  | "left-over"
  /** A request or an effect after the end, or of a worker that was killed. */
  | "goes-on";

/** One thing that is wrong with a run, and what was seen of it. */
export interface Finding {
  readonly kind: FindingKind;
  readonly reason: string;
}

/** Calls of the same effect in different tries of one call of a step. */
const findRepeats = (calls: readonly EffectCall[]): EffectCall[][] => {
  const places = new Map<string, number>();
  const bySlot = Map.groupBy(calls, ({ name, idempotencyKey, stepTry }) => {
    const within = `${name} ${stepTry}`;
    places.set(within, (places.get(within) ?? 0) + 1);
    return `${idempotencyKey} ${name} ${places.get(within)}`;
  });
  return [...bySlot.values()].filter(({ length }) => length > 1);
};

/**
 * Has the scenario judge a run. If it finds fault, names the likely reason: effects that were repeated without the
 * idempotency key of their step, with the same arguments or with others.
 */
export const judge = (scenario: Scenario<object>, seen: Seen<object>): Finding[] => {
  try {
    scenario.expect(seen);
    return [];
  } catch (error) {
    const reason = describe(error);
    const unkeyed = findRepeats(seen.calls)
      .map((repeats) => ({ ...repeats[0], texts: repeats.map(({ args }) => JSON.stringify(args)) }))
      .filter(({ texts, idempotencyKey = "" }) => texts.some((text) => !text.includes(idempotencyKey)));
    const differing = unkeyed.find(({ texts }) => new Set(texts).size > 1);
    if (differing) {
      const { name, step, texts } = differing;
      const tries = texts.map((text) => `${name}(${text.slice(1, -1)})`).join(", then ");
      return [{ kind: "key-of-random-or-time", reason: `${reason}: tries of step ${step} called ${tries}` }];
    }
    const [same] = unkeyed;
    if (same === undefined) return [{ kind: "unexpected", reason }];
    const how = `${same.name} was called ${same.texts.length} times for one step ${same.step}, without its key`;
    return [{ kind: "step-not-idempotent", reason: `${reason}: ${how}` }];
  }
};
