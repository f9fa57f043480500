import { isSuccess, LocalNetwork, type Network, type Request, Resonate, type Send } from "@resonatehq/sdk";
import { createSteps } from "../src/jobs/deletion/steps.ts";
import { createWorkflow } from "../src/jobs/deletion/workflow.ts";
import { createHistory, type History } from "../src/resonate/history.ts";
import { createResonateLogger } from "../src/resonate/log.ts";
import { silentLog } from "../src/support/log.ts";
import { encodeEnvelope, packMessage } from "../src/worker/envelope.ts";
import { createExecution, executionName, NEVER_MS } from "../src/worker/execution.ts";
import { createStepRunner } from "../src/worker/step.ts";
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
const createJumpingNetwork = (
  history: Pick<History, "onAnswer">,
): Network & { readonly traffic: Traffic } => {
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
    history.onAnswer(request, response);
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
  deleteBatch: async ({ batch }: { batch: number }) => ({
    deleted: 1,
    rowsRemain: batch < batches - 1,
    repeated: false,
  }),
});

const execute = async (
  begin: (resonate: Resonate, history: History) => Promise<{ result(): Promise<unknown> }>,
): Promise<Traffic> => {
  const history = createHistory();
  const network = createJumpingNetwork(history);
  const resonate = new Resonate({ network, pid: "1", logger: createResonateLogger(silentLog) });
  try {
    const handle = await begin(resonate, history);
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
  execute((resonate, history) => {
    const recordId = "0123456789abcdef0123456789abcdef";
    const name = executionName("deletion", "records_to_be_deleted");
    const target = "local://any@bench";
    const steps = createSteps(
      { records: createRecords(batches), simulateTrouble: async () => {} },
      { publish: async () => {}, answered: () => {}, log: silentLog },
      { BATCH_SIZE: 1 },
    );
    const execution = createExecution({
      job: "deletion",
      name,
      steps,
      workflow: createWorkflow(steps, { BATCH_PAUSE_MS: PAUSE_MS }),
      runner: createStepRunner({
        concurrency: 1,
        maxAttempts: 1,
        retryDelayMs: 1,
        now: Date.now,
        log: silentLog,
      }),
      history,
      takeovers: { run: (_step, work) => work() },
      maxTakeovers: 5,
      worker: "1",
      target,
      sendDeadLetter: async () => {},
    });
    const envelope = {
      id: recordId,
      partition: 0,
      offset: "0",
      redrives: 0,
      deadline: Date.now() + NEVER_MS,
      original: packMessage({ key: Buffer.from(recordId), value: Buffer.from(JSON.stringify(recordId)) }),
      args: [{ recordId, batchesPerSegment }],
    };
    const lasting = resonate.options({ timeout: NEVER_MS, target });
    return resonate.register(name, execution).beginRun(recordId, encodeEnvelope(envelope), lasting);
  });

/** The same with the plain workflow. */
export const executePlain = (batches: number): Promise<Traffic> =>
  execute((resonate) => {
    const settings = {
      TOPIC_COMPLETIONS: "completions",
      BATCH_SIZE: 1,
      BATCH_PAUSE_MS: PAUSE_MS,
      SIMULATED_LATENCY_MS: 0,
    };
    const workflow = createPlainWorkflow({ records: createRecords(batches), producer, settings });
    return resonate
      .register("workflow", workflow)
      .beginRun("0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef");
  });
