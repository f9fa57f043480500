import { isSuccess, LocalNetwork, type Network, type Request, Resonate, type Send } from "@resonatehq/sdk";
import { createSteps } from "../src/jobs/deletion/steps.ts";
import { createWorkflow } from "../src/jobs/deletion/workflow.ts";
import { createResonateLogger } from "../src/resonate/log.ts";
import { silentLog } from "../src/support/log.ts";
import { createSemaphore } from "../src/support/semaphore.ts";
import { NEVER_MS } from "../src/worker/step-options.ts";
import { createPlainWorkflow } from "./plain.ts";

/** What one record asked of the server. */
export interface Traffic {
  readonly requests: number;
  /** Of requests and answers together, as JSON. */
  readonly bytes: number;
  /** Requests by kind. */
  readonly kinds: Readonly<Record<string, number>>;
}

/** The pause stands for hours if need be: the clock jumps. It is below the 30 s after which a server sends again. */
const PAUSE_MS = 5000;
const TIMERS = "poll://any@timers";

/**
 * A Resonate server in this process whose clock jumps to the next timer as soon as an execution waits for one, so
 * that a record of thousands of batches takes seconds, and the same requests each time.
 */
const createJumpingNetwork = (): Network & { readonly traffic: Traffic } => {
  const server = new LocalNetwork();
  const kinds: Record<string, number> = {};
  let [requests, bytes] = [0, 0];
  const head = { corrId: "", version: "" };

  const promiseTags = async (id: string) => {
    const found = await server.send({ kind: "promise.get", head, data: { id } });
    return isSuccess(found) ? found.data.promise.tags : {};
  };
  const jumpIfAsleep = async (request: Request) => {
    if (request.kind !== "task.suspend") return;
    const awaited = await Promise.all(request.data.actions.map(({ data }) => promiseTags(data.awaited)));
    if (awaited.every((tags) => tags["resonate:timer"] !== "true")) return;
    await server.send({ kind: "debug.tick", head, data: { time: Date.now() + PAUSE_MS } });
  };
  const send: Send = async (typed) => {
    const request: Request = typed;
    const response = await server.send(typed);
    requests += 1;
    bytes += JSON.stringify(request).length + JSON.stringify(response).length;
    kinds[request.kind] = (kinds[request.kind] ?? 0) + 1;
    if (isSuccess(response)) await jumpIfAsleep(request);
    return response;
  };
  return {
    unicast: "poll://uni@bench/1",
    anycast: "poll://any@bench/1",
    match: (target) => `poll://any@${target}`,
    // Without init the server's own clock does not tick.
    init: async () => {},
    stop: async () => {},
    send,
    recv: (callback) =>
      server.recv(async (message) => {
        if (message.kind !== "execute") return callback(message);
        const tags = await promiseTags(message.data.task.id);
        if (tags["resonate:target"] !== TIMERS) callback(message);
      }),
    get traffic() {
      return { requests, bytes, kinds: { ...kinds } };
    },
  };
};

const producer = { send: async () => [] };

/** A row store in which each record has so many batches. */
const createRecords = (batches: number) => ({
  deleteBatch: ({ batch }: { batch: number }) => ({
    deleted: 1,
    rowsRemain: batch < batches - 1,
    repeated: false,
  }),
});

const execute = async (
  begin: (resonate: Resonate) => Promise<{ result(): Promise<unknown> }>,
): Promise<Traffic> => {
  const network = createJumpingNetwork();
  const resonate = new Resonate({ network, pid: "1", logger: createResonateLogger(silentLog) });
  try {
    const handle = await begin(resonate);
    await handle.result();
    const { requests, bytes, kinds } = network.traffic;
    // The request for the result is this harness's own.
    const { "promise.register_listener": own = 0, ...rest } = kinds;
    return { requests: requests - own, bytes, kinds: rest };
  } finally {
    await resonate.stop();
  }
};

/** Runs one record of this application to its end and counts. */
export const executeOurs = (batches: number, batchesPerSegment: number): Promise<Traffic> =>
  execute((resonate) => {
    const steps = createSteps({
      records: createRecords(batches),
      producer,
      topics: { source: "source", completions: "completions", deadLetters: "dead-letters" },
      batchSize: 1,
      running: createSemaphore(1),
      latencyMs: 0,
      failureRate: 0,
      random: () => 0.5,
      now: Date.now,
      log: silentLog,
    });
    const options = { target: "local://any@bench", pauseMs: PAUSE_MS, maxAttempts: 1, retryDelayMs: 1 };
    const workflow = resonate.register(createWorkflow(steps, options));
    for (const step of Object.values(steps)) resonate.register(step);
    const record = {
      recordId: "0123456789abcdef0123456789abcdef",
      partition: 0,
      offset: "0",
      attempt: 0,
      deadline: Date.now() + NEVER_MS,
      batchesPerSegment,
    };
    return workflow.beginRun(record.recordId, record, 0, resonate.options({ timeout: NEVER_MS }));
  });

/** The same with the plain workflow. */
export const executePlain = (batches: number): Promise<Traffic> =>
  execute((resonate) => {
    const config = {
      TOPIC_COMPLETIONS: "completions",
      BATCH_SIZE: 1,
      BATCH_PAUSE_MS: PAUSE_MS,
      SIMULATED_LATENCY_MS: 0,
    };
    const workflow = createPlainWorkflow({ records: createRecords(batches), producer, config });
    return resonate
      .register("workflow", workflow)
      .beginRun("0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef");
  });
