import type { PromiseRecord } from "@resonatehq/sdk";
import { KEY_TAG } from "./checkpoint.ts";

/** Header of what a step came to: how often it was tried, where that is more than once. */
export const ATTEMPTS_HEADER = "attempts";

/** How often steps were tried in this process, until that is kept with what they came to. */
export interface Attempts {
  /** Notes a try of a step, from 1. `key` is its idempotency key. */
  readonly note: (key: string, attempt: number) => void;
  /** Forgets a step that another worker goes on with. */
  readonly forget: (key: string) => void;
  /** The header to keep with what a step came to, which is then forgotten here. */
  take(step: PromiseRecord | undefined): Readonly<Record<string, string>>;
}

export const createAttempts = (): Attempts => {
  const retried = new Map<string, number>();
  return {
    note: (key, attempt) => {
      if (attempt > 1) retried.set(key, attempt);
      else retried.delete(key);
    },
    forget: (key) => void retried.delete(key),
    take: (step) => {
      const key = step?.tags[KEY_TAG] ?? "";
      const attempts = retried.get(key);
      retried.delete(key);
      return attempts === undefined ? {} : { [ATTEMPTS_HEADER]: String(attempts) };
    },
  };
};
