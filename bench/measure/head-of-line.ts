import { setTimeout } from "node:timers/promises";
import { watchTopic } from "../../src/demo/watch-topic.ts";
import { createRandom } from "../../src/support/random.ts";
import { countLines, openLab, until } from "../lab.ts";
import type { Measurement, Run } from "../measurement.ts";
import { format, formatSpread, spreadOf } from "../statistics.ts";

const LONG = 900;
const PROBES = 25;
const STEP_MS = 20;
const RATIO = 2;

const run = async ({ quick, signal, onProgress }: Run) => {
  const long = quick ? 50 : LONG;
  const probes = quick ? 5 : PROBES;
  const random = createRandom(1);
  await using lab = await openLab({
    settings: { TOPIC_PARTITIONS: "1", SIMULATED_LATENCY_MS: String(STEP_MS), BATCH_SIZE: "1" },
  });
  const worker = await lab.startWorker();
  await using completed = await watchTopic(lab.kafka, lab.settings.TOPIC_COMPLETIONS);

  /** Time from producing a record of one batch to its completion, in milliseconds, one record after the other. */
  const probe = async (what: string, from: number) => {
    const times: number[] = [];
    for (let i = 0; i < probes; i++) {
      onProgress(from + (0.45 * i) / probes, what);
      // Timers fall due once a second: probes are spread over it.
      await setTimeout(random() * 1000, undefined, { signal });
      const before = completed.messages.length;
      const began = performance.now();
      await lab.seed(1);
      while (completed.messages.length === before) await setTimeout(1, undefined, { signal });
      times.push(performance.now() - began);
    }
    return times;
  };
  await lab.seed(3);
  await until("the warm-up to be done", () => completed.messages.length >= 3, { signal });
  const idle = await probe("short records on an idle worker", 0);

  const dispatched = countLines(worker, "kicked off workflow");
  const before = dispatched();
  await lab.seed(long, { batches: 1000 });
  const began = performance.now();
  await until("the long records to be begun", () => dispatched() >= before + long, { signal });
  const dispatchMs = performance.now() - began;
  const busy = await probe(`short records behind ${long} long ones`, 0.5);

  const [alone, behind] = [spreadOf(idle), spreadOf(busy)];
  const ratio = behind.median / alone.median;
  return {
    findings: [
      {
        claim: `a short record behind ${long} long ones on its partition takes at most ${RATIO} times as long as on an idle worker`,
        holds: ratio <= RATIO,
        seen: `${format(ratio)} times: ${formatSpread(behind, " ms")} against ${formatSpread(alone, " ms")}`,
      },
    ],
    notes: [
      `Ahead of it are ${long} executions that have begun; before that they are dispatched, which took ${format(dispatchMs)} ms for all.`,
      "A long record is one of many batches and the pauses between them. A long step is another matter: STEP_CONCURRENCY of them at once, and every record's next step waits.",
    ],
    tables: [
      {
        head: ["", "median, ms", "90 % below, ms", "all, ms"],
        rows: [
          [
            "idle worker",
            format(alone.median),
            format(alone.p90),
            `${format(alone.min)}–${format(alone.max)}`,
          ],
          [
            `behind ${long}`,
            format(behind.median),
            format(behind.p90),
            `${format(behind.min)}–${format(behind.max)}`,
          ],
        ],
      },
    ],
    plots: [],
    samples: { idle, busy, dispatchMs },
  };
};

export const headOfLine: Measurement = {
  name: "head-of-line",
  title: "No head-of-line blocking",
  method: `Time from producing a record of one batch to its completion in the topic, ${PROBES} of them one after the other at random moments, on an idle worker and then with ${LONG} long records (1,000 batches with a pause of 5 s) ahead on the same partition of the same worker. A step takes ${STEP_MS} ms.`,
  seconds: 45,
  run,
};
