import { integer, matching, type Setting } from "../support/settings.ts";
import type { JobDefaults } from "./job.ts";

/** Kafka's own rule for topic names: `org.apache.kafka.common.internals.Topic`. */
const topic = (fallback: string, about: string): Setting<string> => ({
  fallback,
  expected: "a topic name: 1 to 249 letters, digits, '.', '_' or '-', not '.' or '..'",
  about,
  parse: (text) => (/^[\w.-]{1,249}$/.test(text) && !/^\.{1,2}$/.test(text) ? text : undefined),
});

/** Settings that every job has, with defaults of its own. */
export const jobSchema = (defaults: JobDefaults) => ({
  TOPIC_SOURCE: topic(defaults.TOPIC_SOURCE, "Topic the job's messages come from."),
  TOPIC_COMPLETIONS: topic(defaults.TOPIC_COMPLETIONS, "Topic its completions go to."),
  TOPIC_DEAD_LETTERS: topic(defaults.TOPIC_DEAD_LETTERS, "Topic for messages that cannot be worked on."),
  KAFKA_GROUP_ID: matching(defaults.KAFKA_GROUP_ID, {
    expected: "a consumer group name: 1 to 255 characters",
    pattern: /^.{1,255}$/,
    about: "Consumer group of its workers.",
  }),
  RESONATE_GROUP: matching(defaults.RESONATE_GROUP, {
    expected: "a worker group name: letters, digits, '.', '_' or '-'",
    pattern: /^[\w.-]{1,255}$/,
    about: "Worker group at the Resonate server: its workers go on with each other's executions.",
  }),
  STEP_CONCURRENCY: integer(defaults.STEP_CONCURRENCY, {
    min: 1,
    max: 10_000,
    unit: "steps",
    about: "How many steps a worker runs at the same time. The others wait and keep their leases.",
  }),
  STEP_MAX_ATTEMPTS: integer(defaults.STEP_MAX_ATTEMPTS, {
    min: 1,
    max: 1_000_000,
    unit: "attempts",
    about: "How often a step is tried before its message goes to the dead letters.",
  }),
});
