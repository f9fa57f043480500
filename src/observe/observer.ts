import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import type { WorkerState } from "../worker/telemetry.ts";
import type { Verdict } from "./health.ts";
import type { Answer } from "./http.ts";

/** Metrics are rendered at most once in this time, in milliseconds, however often they are asked for. */
const RENDER_MS = 1000;

export interface ObserverOptions {
  readonly host: string;
  /** 0 is a free one; empty: nothing is observed. */
  readonly port: number | "";
  readonly version: string;
  /** The consumer group. */
  readonly group: string;
  /** Whether the worker takes messages. */
  readonly takesMessages: boolean;
  readonly log: Log;
}

/** A worker, as far as it is asked. */
interface Observed {
  readonly failed: Promise<never>;
  state(): WorkerState;
}

/** Listens to the worker of this process, and answers those who ask how it is doing. */
export interface Observer extends AsyncDisposable {
  /** To be called once the worker has started. */
  observe(worker: Observed): void;
}

const json = ({ ok, reasons }: Verdict): Answer => ({
  status: ok ? 200 : 503,
  contentType: "application/json",
  body: `${JSON.stringify({ ok, reasons })}\n`,
});

/** The result of `work`, which begins again only when it is `ms` milliseconds old. */
const keepFor = <T>(ms: number, work: () => Promise<T>): (() => Promise<T>) => {
  let last: Promise<T> | undefined;
  let startedAt = 0;
  return () => {
    if (last === undefined || performance.now() - startedAt >= ms) {
      startedAt = performance.now();
      last = work();
    }
    return last;
  };
};

/**
 * Starts to listen, and to answer at `/metrics`, `/healthz` and `/readyz`. To be started before the worker, and
 * disposed of after it: it tells of its start and of its stop, too.
 *
 * @throws {SettingsError} when it cannot listen at that address
 */
export const startObserver = async (options: ObserverOptions): Promise<Observer> => {
  const { host, port, version, group, takesMessages, log } = options;
  if (port === "") return { observe: () => {}, [Symbol.asyncDispose]: async () => {} };
  // Only where somebody looks: what they load takes a sixth of a worker's start.
  const [{ watchHealth }, { listenHttp }, { createMetrics }] = await Promise.all([
    import("./health.ts"),
    import("./http.ts"),
    import("./metrics.ts"),
  ]);
  let worker: Observed | undefined;
  const state = () => worker?.state();

  await using opened = new AsyncDisposableStack();
  const health = opened.use(watchHealth({ state, takesMessages }));
  const metrics = opened.use(createMetrics({ state, isReady: () => health.ready().ok, version, group }));
  const render = keepFor(RENDER_MS, metrics.render);
  const { url } = opened.use(
    await listenHttp(
      { host, port },
      {
        "/metrics": async () => ({ status: 200, contentType: metrics.contentType, body: await render() }),
        "/healthz": () => json(health.live()),
        "/readyz": () => json(health.ready()),
      },
    ),
  );
  log.info(`metrics at ${url}/metrics, health at ${url}/healthz and ${url}/readyz`);

  const resources = opened.move();
  return {
    observe: (started) => {
      worker = started;
      started.failed.catch((error) => health.died(describe(error)));
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
};
