import { countLines, openLab, timesOf, until } from "../lab.ts";
import type { Measurement, Run } from "../measurement.ts";
import { runBareLoop } from "../processes.ts";
import { format, formatSpread, type Spread, spreadOf } from "../statistics.ts";

/** Added to each request by the embedded server: its network is a loopback. */
const DELAY_MS = 2;
const CONCURRENCIES = [1, 8, 32, 128];
/** The concurrency at which the bounds are judged: the default of DISPATCH_CONCURRENCY. */
const JUDGED = 32;
const REPETITIONS = 3;
/** The first messages find caches cold and code not yet compiled. */
const WARM_UP_SHARE = 0.25;
const TIMES_PLAIN = 10;
const SHARE_OF_BARE = 0.8;

type Contestant = "ours" | "bare" | "lean" | "plain";

const rateOf = (times: readonly number[]): number => {
  const warm = times.slice(Math.floor(times.length * WARM_UP_SHARE));
  return ((warm.length - 1) * 1000) / ((warm.at(-1) ?? 0) - (warm[0] ?? 0));
};

const KICKED_OFF = "kicked off workflow";

const measureOnce = async (
  contestant: Contestant,
  concurrency: number,
  count: number,
  signal: AbortSignal,
): Promise<number> => {
  await using lab = await openLab({
    delayMs: DELAY_MS,
    settings: {
      DISPATCH_CONCURRENCY: String(concurrency),
      MAX_IN_FLIGHT: String(count + 1),
      // The steps are not what is measured: none ends before the last message is dispatched.
      SIMULATED_LATENCY_MS: "3600000",
      // As the SDK's default, which plain has.
      LEASE_TTL_MS: "60000",
    },
  });
  if (contestant === "bare" || contestant === "lean") {
    const client = contestant === "bare" ? "sdk" : "lean";
    return rateOf(await runBareLoop(lab.settings.RESONATE_URL, { count, concurrency, client }));
  }
  await lab.seed(count);
  const worker = await lab.startWorker({ plain: contestant === "plain" });
  const dispatched = countLines(worker, KICKED_OFF);
  await until(`${count} dispatched`, () => dispatched() >= count, { signal });
  return rateOf(timesOf(worker, KICKED_OFF));
};

const run = async ({ quick, signal, onProgress }: Run) => {
  const contests = [
    { contestant: "plain" as const, concurrency: 1 },
    ...CONCURRENCIES.flatMap((concurrency) => [
      { contestant: "bare" as const, concurrency },
      { contestant: "lean" as const, concurrency },
      { contestant: "ours" as const, concurrency },
    ]),
  ].map((contest) => ({ ...contest, rates: [] as number[] }));

  const repetitions = quick ? 1 : REPETITIONS;
  const total = repetitions * contests.length;
  let done = 0;
  // Contestants take turns, so that a slow moment of the machine is nobody's alone.
  for (let repetition = 0; repetition < repetitions; repetition++) {
    for (const { contestant, concurrency, rates } of contests) {
      onProgress(done++ / total, `${contestant} at ${concurrency}`);
      const count = (concurrency < JUDGED ? 80 * (concurrency + 7) : 4000) / (quick ? 2 : 1);
      rates.push(await measureOnce(contestant, concurrency, count, signal));
    }
  }

  const spread = (contestant: Contestant, concurrency: number): Spread =>
    spreadOf(
      contests.find((own) => own.contestant === contestant && own.concurrency === concurrency)?.rates ?? [],
    );
  const [ours, plain, bare] = [spread("ours", JUDGED), spread("plain", 1), spread("bare", JUDGED)];
  const timesPlain = ours.median / plain.median;
  const shareOfBare = ours.median / bare.median;
  const seriesOf = <const Of>(contestant: Contestant, name: string, of: Of) => ({
    name,
    of,
    points: CONCURRENCIES.map((x) => {
      const { median, min, max } = spread(contestant, x);
      return { x, y: median, low: min, high: max };
    }),
  });
  return {
    findings: [
      {
        claim: `at ${JUDGED} dispatches at once, ${TIMES_PLAIN} times as many messages a second are durably started as plain starts`,
        holds: timesPlain >= TIMES_PLAIN,
        seen: `${format(timesPlain)} times: ${formatSpread(ours)} against ${formatSpread(plain)}`,
      },
      {
        claim: `that is ${100 * SHARE_OF_BARE} % of what a bare loop of concurrent task.create requests reaches, by the SDK's HTTP client`,
        holds: shareOfBare >= SHARE_OF_BARE,
        seen: `${format(100 * shareOfBare)} %: bare ${formatSpread(bare)}`,
      },
    ],
    notes: [
      `Through the worker's own HTTP client the same loop starts ${formatSpread(spread("lean", JUDGED))} a second: the worker also reads Kafka, begins to run each execution, commits and logs.`,
    ],
    tables: [
      {
        head: [
          "dispatches at once",
          "ours /s",
          "bare loop /s",
          "bare loop, worker's client /s",
          "ours / bare",
          "ours / plain",
        ],
        rows: CONCURRENCIES.map((n) => [
          n,
          formatSpread(spread("ours", n)),
          formatSpread(spread("bare", n)),
          formatSpread(spread("lean", n)),
          format(spread("ours", n).median / spread("bare", n).median),
          format(spread("ours", n).median / plain.median),
        ]),
      },
    ],
    plots: [
      {
        file: "dispatch",
        title: "Messages durably started per second",
        x: { label: "dispatches at once", log: true, ticks: CONCURRENCIES },
        y: { label: "messages per second" },
        series: [
          seriesOf("ours", "this worker", "this worker"),
          seriesOf("lean", "bare, worker's client", "bare with the worker's client"),
          seriesOf("bare", "bare, SDK's client", "bare"),
          {
            name: "plain eachMessage",
            of: "plain" as const,
            points: CONCURRENCIES.map((x) => ({ x, y: plain.median })),
          },
        ],
      },
    ],
    samples: contests,
  };
};

export const dispatch: Measurement = {
  name: "dispatch",
  title: "Dispatch",
  method: `Messages durably started per second: a backlog in Kafka, produced beforehand, is read by one worker process whose steps do not end. Counted by the worker's own line behind each answered task.create, without the first ${100 * WARM_UP_SHARE} %. An embedded server adds ${DELAY_MS} ms to each request. Each run has a fresh stack; the contestants take turns. Plain is eachMessage awaiting beginRun; the bare loop sends task.create through the SDK's HTTP client and does nothing else.`,
  seconds: 135,
  run,
};
