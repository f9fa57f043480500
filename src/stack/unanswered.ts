import { isSuccess, type Message, type Network } from "@resonatehq/sdk";

type ExecuteMessage = Extract<Message, { kind: "execute" }>;

/** A message that nobody has answered for so long is sent again, in milliseconds: `tasks.retry_timeout`. */
const RETRY_MS = 5000;

/** Messages that hand out an execution, until somebody takes it up. */
export interface Unanswered {
  /** Notes that a message was sent, at a time in milliseconds since 1970. */
  note(message: ExecuteMessage, at: number): void;
  /** Sends those again that have waited too long and still hold. */
  sendAgain(now: number): Promise<void>;
}

/** In place of the retry of LocalNetwork (@resonatehq/sdk 0.11.5), which is fixed at 30 s. */
export const createUnanswered = (
  network: Pick<Network, "send">,
  send: (message: ExecuteMessage) => void,
): Unanswered => {
  /** In the order in which they were sent. */
  const sent = new Map<string, { readonly message: ExecuteMessage; readonly at: number }>();
  const head = { corrId: "", version: "" };

  /** Whether an execution still waits for somebody. A durable sleep has a task, too, that nobody takes up. */
  const isWaiting = async ({ data: { task } }: ExecuteMessage) => {
    const found = await network.send({ kind: "task.get", head, data: { id: task.id } });
    if (!isSuccess(found) || found.data.task.state !== "pending" || found.data.task.version !== task.version)
      return false;
    const promise = await network.send({ kind: "promise.get", head, data: { id: task.id } });
    return isSuccess(promise) && promise.data.promise.tags["resonate:timer"] !== "true";
  };
  return {
    note: (message, at) => {
      const { id } = message.data.task;
      sent.delete(id);
      sent.set(id, { message, at });
    },
    sendAgain: async (now) => {
      for (const [id, { message, at }] of sent) {
        if (now - at < RETRY_MS) return;
        sent.delete(id);
        if (await isWaiting(message)) send(message);
      }
    },
  };
};
