import type { IHeaders } from "kafkajs";
import type { Env } from "../support/settings.ts";

/** One call of an effect, in the order in which they began. A crash repeats them. */
export interface EffectCall {
  /** Its path in the scenario's effects, such as `payments.charge`; `publish` for a completion. */
  readonly name: string;
  readonly args: readonly unknown[];
  /** The step it belongs to, and the idempotency key that the step was given. */
  readonly step: string;
  readonly idempotencyKey: string;
  /** Numbers the tries of steps over all workers of the run. */
  readonly stepTry: number;
}

/** A message that was published to the completions topic. */
export interface Published {
  readonly key: string;
  readonly value: string;
  readonly idempotencyKey: string;
}

/** What one run did to the world. */
export interface Seen<Effects> {
  /** What the scenario's `effects` gave for this run, with the state it is in at the end. */
  readonly effects: Effects;
  readonly calls: readonly EffectCall[];
  readonly published: readonly Published[];
}

/** One message of a job, the world it is worked on in, and what must be true however often workers crash. */
export interface Scenario<Effects extends object> {
  /** Settings by name, as text; those that are not named take their defaults. */
  readonly settings?: Env;
  readonly message: { readonly key?: string; readonly value: string; readonly headers?: IHeaders };
  /**
   * Stands in for the job's `open`: made anew for each run and shared by its workers, so it is the world that
   * outlives them. Each call of an asynchronous function in it, at any depth, counts as an effect.
   */
  effects(): Effects;
  /** Judges a run that has come to its end. Throws what is wrong with it. */
  expect(seen: Seen<Effects>): void;
}

/** States that an object is a scenario, and has the type of its effects inferred. */
export const defineScenario = <Effects extends object>(scenario: Scenario<Effects>): Scenario<Effects> =>
  scenario;
