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
  /** A dead letter is not the message that came in, or there are two. */
  | "dead-letter"
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
 * Names the likely reason of a fault: an effect that was repeated with other arguments, or with the same ones, but
 * without the idempotency key of its step.
 */
const findReason = (calls: readonly EffectCall[]): Finding | undefined => {
  const repeated = findRepeats(calls).map((repeats) => {
    const texts = repeats.map(({ args }) => JSON.stringify(args));
    const { name = "", step = "", idempotencyKey = "" } = repeats[0] ?? {};
    return { name, step, texts, isKeyed: texts.every((text) => text.includes(idempotencyKey)) };
  });
  const differing = repeated.filter(({ texts }) => new Set(texts).size > 1);
  const other = differing.find(({ isKeyed }) => !isKeyed) ?? differing[0];
  if (other) {
    const tries = other.texts.slice(0, 2).map((text) => `${other.name}(${text.slice(1, -1)})`);
    const reason = `tries of step ${other.step} called ${tries.join(", then ")}`;
    return { kind: "key-of-random-or-time", reason };
  }
  const same = repeated.find(({ isKeyed }) => !isKeyed);
  if (same === undefined) return;
  const times = `${same.texts.length} times for one step ${same.step}, without its key`;
  return { kind: "step-not-idempotent", reason: `${same.name} was called ${times}` };
};

/** Says of an execution that failed though no step was made to, why it may have. */
export const judgeFailure = (error: string, calls: readonly EffectCall[]): Finding => {
  const reason = findReason(calls);
  // Most failures are tried again, with the same arguments: that says nothing.
  if (reason?.kind !== "key-of-random-or-time") return { kind: "failed", reason: error };
  return { ...reason, reason: `${error}: ${reason.reason}` };
};

/** Has the scenario judge a run. If it finds fault, names the likely reason. */
export const judge = (scenario: Scenario<object>, seen: Seen<object>): Finding[] => {
  try {
    scenario.expect(seen);
    return [];
  } catch (error) {
    const reason = findReason(seen.calls);
    if (reason === undefined) return [{ kind: "unexpected", reason: describe(error) }];
    return [{ ...reason, reason: `${describe(error)}: ${reason.reason}` }];
  }
};
