import type { Log } from "../support/log.ts";
import { listen, type WorkerState } from "./telemetry.ts";

/** Between two summaries, in milliseconds. */
const SUMMARY_MS = 30_000;
/** So many ids are named where there are more. */
const MAX_IDS = 5;

export interface ProgressLogOptions {
  readonly log: Log;
  readonly state: () => WorkerState;
}

/** The first ids, and how many there are beside them. */
const listIds = (ids: readonly string[]): string =>
  ids.length <= MAX_IDS
    ? ids.join(", ")
    : `${ids.slice(0, MAX_IDS).join(", ")} and ${ids.length - MAX_IDS} more`;

/**
 * Says in the log how the work goes on: takeovers, completions, a summary of every 30 s in which there was work, and,
 * when it is disposed of after a stop, what was handed over.
 */
export const startProgressLog = ({ log, state }: ProgressLogOptions): Disposable => {
  const lags = new Map<number, number>();
  const handedOver = new Set<string>();
  let isStopping = false;
  let done = 0;
  let failed = 0;

  const summarize = () => {
    const { inFlight, stepsRunning, stepsWaiting } = state();
    if (done + failed + inFlight + stepsRunning + stepsWaiting === 0) return;
    const lag = [...lags.values()].reduce((sum, own) => sum + own, 0);
    log.info(
      { done, failed, inFlight, stepsRunning, stepsWaiting, lag },
      `in ${SUMMARY_MS / 1000} s: ${done} done, ${failed} failed; now: ${inFlight} in flight, ${stepsRunning} steps running, ${stepsWaiting} waiting, lag ${lag}`,
    );
    done = 0;
    failed = 0;
  };
  const timer = setInterval(summarize, SUMMARY_MS);

  const listeners = [
    listen("execution.taken-over", ({ id, from, step, key }) =>
      log.info(
        { recordId: id, from, step, key },
        `took over record ${id} from worker ${from} at step ${key}`,
      ),
    ),
    listen("completion.published", ({ id, topic, key }) =>
      log.info({ recordId: id, topic, key }, `completion of record ${id} is in ${topic}`),
    ),
    listen("execution.ended", ({ isWhole, outcome }) => {
      if (!isWhole) return;
      if (outcome === "finished") done += 1;
      else failed += 1;
    }),
    listen("lag.measured", ({ partition, lag }) => void lags.set(partition, lag)),
    listen("group.joined", ({ partitions }) => {
      for (const partition of lags.keys()) if (!partitions.includes(partition)) lags.delete(partition);
    }),
    listen("group.left", () => lags.clear()),
    listen("worker.stopping", () => {
      isStopping = true;
    }),
    listen("execution.handed-back", ({ id }) => {
      if (isStopping) handedOver.add(id);
    }),
  ];
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
      for (const listener of listeners) listener[Symbol.dispose]();
      if (!isStopping) return;
      const ids = [...handedOver];
      log.info(
        { handedOver: ids.length },
        ids.length === 0
          ? "stopped: no execution had to be handed over"
          : `stopped: handed over ${ids.length} executions: ${listIds(ids)}`,
      );
    },
  };
};
