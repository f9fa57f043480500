import type { Producer } from "kafkajs";
import type { Schema, Settings } from "../support/settings.ts";
import type { AnyJob } from "../worker/job.ts";
import type { WorkerSettings } from "../worker/settings.ts";
import type { Plan } from "./faults.ts";
import type { EffectCall } from "./scenario.ts";
import type { Server } from "./server.ts";

/** What a worker asked of the world: a request, an effect, or that it was killed. */
export interface Trace {
  readonly worker: string;
  readonly what: string;
}

/** What the workers of a run share, and what outlives them. */
export interface World {
  readonly job: AnyJob;
  readonly settings: WorkerSettings & Settings<Schema>;
  readonly server: Server;
  readonly plan: Plan;
  readonly effects: object;
  /** Kafka, as far as a worker writes to it. */
  readonly producer: Pick<Producer, "send">;
  readonly onEffect: (effect: EffectCall) => void;
  /** An effect that no step made, by name. */
  readonly onStrayEffect: (name: string) => void;
  readonly onTrace: (trace: Trace) => void;
  /** Dispatches the message again, at once, on another worker. */
  readonly redeliver: () => void;
  /** Numbers the tries of steps, from 1. */
  readonly nextTry: () => number;
}
