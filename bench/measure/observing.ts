import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { START } from "../../src/demo/worker-process.ts";
import { openLab, until } from "../lab.ts";
import type { Measurement, Run } from "../measurement.ts";
import { PROFILED } from "../processes.ts";
import { type Profile, sharesOf } from "../profile.ts";
import { format, formatSpread, spreadOf } from "../statistics.ts";

const RECORDS = 1500;
/** Before the profile begins: what is done for the first time costs many times more. */
const WARM_UP = 500;
const BATCHES = 3;
const REPETITIONS = 5;
const MAX_PERCENT = 3;
/** As the Prometheus of this project. */
const SCRAPE_MS = 5000;

/** By the files whose functions are on the stack. */
const PARTS = {
  metrics: /\/src\/observe\/|\/prom-client\//,
  log: /\/src\/support\/(create-log|visible)\.ts|\/src\/worker\/progress-log\.ts|\/pino\//,
  events: /\/src\/worker\/telemetry\.ts|diagnostics_channel/,
};

/** Reads metrics every few seconds until `ended`. */
const scrape = async (url: string, ended: AbortSignal): Promise<void> => {
  while (!ended.aborted) {
    await (await fetch(url)).text();
    await setTimeout(SCRAPE_MS, undefined, { signal: ended }).catch(() => {});
  }
};

/** The profile of a worker as `npm start` starts it, with metrics, while it is busy. Its log goes into a file. */
const profileOnce = async ({ quick, signal }: Run): Promise<Profile> => {
  const shrink = quick ? 20 : 1;
  await using opened = new AsyncDisposableStack();
  const lab = opened.use(await openLab({ settings: { BATCH_PAUSE_MS: "100", HTTP_PORT: "0" } }));
  const folder = await mkdtemp(join(tmpdir(), "bench-profile-"));
  opened.defer(() => rm(folder, { recursive: true, force: true }));
  const [logFile, profileFile] = [join(folder, "log"), join(folder, "profile")];
  const log = opened.use(await open(logFile, "w"));
  const worker = spawn(process.execPath, ["--import", PROFILED, START], {
    env: { ...process.env, ...lab.env, PROFILE_FILE: profileFile },
    cwd: folder,
    stdio: ["ignore", log.fd, log.fd],
  });
  opened.defer(async () => {
    const exited = once(worker, "exit");
    if (worker.exitCode === null && worker.kill("SIGKILL")) await exited;
  });
  const isReady = async () => (await readFile(logFile, "utf8")).includes("is ready");
  await until("a worker that is ready", isReady, { signal });
  const url = /metrics at ([^\s,]+),/.exec(await readFile(logFile, "utf8"))?.[1];
  if (url === undefined) throw new Error("expected a worker that serves its metrics");
  const ended = new AbortController();
  const scraping = scrape(url, ended.signal);

  await lab.seed(WARM_UP / shrink, { batches: BATCHES });
  await lab.untilCompleted(WARM_UP / shrink, signal);
  worker.kill("SIGUSR2");
  await lab.seed(RECORDS / shrink, { batches: BATCHES });
  await lab.untilCompleted((WARM_UP + RECORDS) / shrink, signal);
  worker.kill("SIGUSR2");
  const read = () => readFile(profileFile, "utf8").then(JSON.parse, () => undefined);
  const profile: Profile = await until("a profile", read, { signal });
  ended.abort();
  await scraping;
  return profile;
};

const run = async (options: Run) => {
  const repetitions = options.quick ? 1 : REPETITIONS;
  const shares: Record<keyof typeof PARTS, number>[] = [];
  for (let i = 0; i < repetitions; i++) {
    options.onProgress(i / repetitions, "a worker");
    shares.push(sharesOf(await profileOnce(options), PARTS));
  }
  const spread = (of: (own: (typeof shares)[number]) => number) =>
    spreadOf(shares.map((own) => 100 * of(own)));
  const all = spread(({ log, metrics, events }) => log + metrics + events);
  const rows = [
    { name: "log", spread: spread(({ log }) => log) },
    { name: "metrics", spread: spread(({ metrics }) => metrics) },
    { name: "events themselves", spread: spread(({ events }) => events) },
    { name: "all", spread: all },
  ];
  return {
    findings: [
      {
        claim: `log and metrics take at most ${MAX_PERCENT} % of a record's processor time`,
        holds: all.median <= MAX_PERCENT,
        seen: `${format(all.median)} %`,
      },
    ],
    notes: [],
    tables: [
      {
        head: ["part", "share of the worker's busy time, %"],
        rows: rows.map(({ name, spread: own }) => [name, formatSpread(own)]),
      },
    ],
    plots: [],
    samples: shares,
  };
};

export const observing: Measurement = {
  name: "observing",
  title: "Log and metrics",
  method: `The profile of a worker as npm start starts it, over ${RECORDS} records of ${BATCHES} batches behind ${WARM_UP} that are not counted: of all samples in which it was busy, those that have a function of log, metrics or events on their stack. The log goes into a file, the metrics are read every ${SCRAPE_MS / 1000} s. Median of ${REPETITIONS} runs. To compare workers with and without is too coarse for so little: the processor time of one and the same worker differs by more than a tenth from run to run.`,
  seconds: 150,
  run,
};
