import { isSuccess, type Response } from "@resonatehq/sdk";
import type { Log } from "../support/log.ts";
import { PULSE_ID } from "./request.ts";

/** A difference that matters, and a change of it that is told, in milliseconds. */
const SKEW_MS = 2000;
/** An answer that took longer says too little about when it was made, in milliseconds. */
const MAX_ROUND_TRIP_MS = 1000;

/** Compares the server's clock with this machine's. */
export interface ClockSkew {
  /** By how much the server's clock is ahead, in milliseconds; `undefined` before the first comparison. */
  readonly ms: number | undefined;
  /** To be told of every answer, and of when its request was sent, in milliseconds since 1970. */
  readonly onAnswer: (response: Response, sentAt: number) => void;
}

/**
 * Watches the difference of the clocks by the promises that the server makes for this worker: it says when. A durable
 * sleep ends by the server's clock and is computed by the worker's, so a clock that is off makes pauses that last
 * minutes, or none at all.
 */
export const watchClockSkew = (log: Log, now: () => number = Date.now): ClockSkew => {
  let told = 0;
  let skew: number | undefined;
  return {
    get ms() {
      return skew;
    },
    onAnswer: (response, sentAt) => {
      const roundTrip = now() - sentAt;
      if (!isSuccess(response) || roundTrip > MAX_ROUND_TRIP_MS) return;
      // One that has ended may have been leased once, too, and was created long before.
      const isNew =
        response.kind === "task.create" &&
        response.data.task?.state === "acquired" &&
        response.data.task.version === 1;
      // Other promises that are created may have been there before.
      const isPulse = response.kind === "promise.create" && response.data.promise.id.startsWith(PULSE_ID);
      if (!isNew && !isPulse) return;
      skew = Math.round(response.data.promise.createdAt - (sentAt + roundTrip / 2));
      if (Math.abs(skew - told) <= SKEW_MS) return;
      told = skew;
      const seconds = (Math.abs(skew) / 1000).toFixed(1);
      const direction = skew > 0 ? "ahead of" : "behind";
      if (Math.abs(skew) <= SKEW_MS) log.info("the Resonate server's clock agrees with this machine's again");
      else
        log.warn(
          `the Resonate server's clock is ${seconds} s ${direction} this machine's: durable sleeps are off by as much`,
        );
    },
  };
};
