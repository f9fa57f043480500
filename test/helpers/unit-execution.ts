import type { TestContext } from "node:test";
import type { Request, Send } from "@resonatehq/sdk";
import { createHistory } from "../../src/resonate/history.ts";
import { executionId } from "../../src/worker/dispatch.ts";
import { type Envelope, encodeEnvelope } from "../../src/worker/envelope.ts";
import { createExecution, NEVER_MS } from "../../src/worker/execution.ts";
import type { Steps, Workflow } from "../../src/worker/job.ts";
import { createStepRunner, type StepRunnerOptions } from "../../src/worker/step.ts";
import { createMemoryLog } from "./unit-log.ts";
import { startLocalResonate } from "./unit-resonate.ts";

const GROUP = "group";

export interface Play extends Partial<StepRunnerOptions> {
  readonly steps: Steps;
  readonly workflow: Workflow<unknown>;
  readonly input?: unknown;
  readonly envelope?: Partial<Envelope>;
  /** Whether a dead letter can be sent; throws when it cannot. */
  readonly onDeadLetter?: () => void;
  /** Told what leads to the server on which it is played. */
  readonly onServer?: (send: Send) => void;
}

/** How an execution ended, and what was seen of it from outside. */
export interface Played {
  readonly outcome: { readonly result: unknown } | { readonly error: string };
  readonly deadLetters: readonly { readonly envelope: Envelope; readonly error: unknown }[];
  readonly requests: readonly Request[];
  readonly lines: readonly string[];
}

/**
 * Plays executions of a job on a server in memory, as the worker registers them, each to its end. Pauses between tries
 * take no time.
 */
export const startExecutions = (t: TestContext, { steps, workflow, input, ...options }: Play) => {
  const requests: Request[] = [];
  const deadLetters: { envelope: Envelope; error: unknown }[] = [];
  const log = createMemoryLog();
  const history = createHistory();
  const { resonate, send } = startLocalResonate(t, GROUP, (request, response) => {
    requests.push(request);
    history.onAnswer(request, response);
  });
  const name = "job:topic";
  const target = `local://any@${GROUP}`;
  const { envelope, onDeadLetter = () => {}, onServer = () => {}, ...runner } = options;
  onServer(send);
  const execution = createExecution({
    job: "job",
    name,
    steps,
    workflow,
    runner: createStepRunner({
      concurrency: 16,
      maxAttempts: 100,
      retryDelayMs: 1000,
      now: () => 0,
      sleep: async () => {},
      log,
      ...runner,
    }),
    history,
    takeovers: { run: (_step, work) => work() },
    maxTakeovers: 100,
    worker: "1",
    target,
    sendDeadLetter: async (failed, error) => {
      onDeadLetter();
      deadLetters.push({ envelope: failed, error });
    },
  });
  const registered = resonate.register(name, execution);
  const lasting = resonate.options({ timeout: NEVER_MS, target });

  return async (own: Partial<Envelope> = {}): Promise<Played> => {
    const first = requests.length;
    const whole: Envelope = {
      id: "m",
      partition: 1,
      offset: "41",
      redrives: 0,
      deadline: 1000,
      original: null,
      args: [input],
      ...envelope,
      ...own,
    };
    const handle = await registered.beginRun(
      executionId(whole.id, whole.redrives),
      encodeEnvelope(whole),
      lasting,
    );
    const outcome = await handle.result().then(
      (result) => ({ result }),
      (error: Error) => ({ error: error.message }),
    );
    return { outcome, deadLetters, requests: requests.slice(first), lines: log.lines };
  };
};

/** Plays one execution. */
export const playExecution = (t: TestContext, play: Play): Promise<Played> => startExecutions(t, play)();

/** Ids of the executions that ended, in the order of their ends. */
export const endedIn = (requests: readonly Request[]): string[] =>
  requests.flatMap((request) => (request.kind === "task.fulfill" ? [request.data.id] : []));
