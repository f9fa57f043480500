import { isSuccess, type Message, type Request, type Response } from "@resonatehq/sdk";

/** The promises of whose end this process has asked to be told. */
export interface Awaited {
  /** To be told of each request before it is sent: the end may be told before the answer comes. */
  onRequest(request: Request): void;
  /** To be told of each request and its answer. */
  onAnswer(request: Request, response: Response): void;
  /** Whether a message is for somebody here. The end of a promise is told once. */
  takes(message: Message): boolean;
}

/**
 * Keeps the end of a promise that nobody here waits for from the SDK (0.11.5), which would remember it, ask for it
 * every minute, and end the process where its value cannot be read.
 */
export const createAwaited = (): Awaited => {
  const ids = new Set<string>();
  return {
    onRequest: (request) => {
      if (request.kind === "promise.register_listener") ids.add(request.data.awaited);
    },
    onAnswer: (request, response) => {
      if (request.kind !== "promise.register_listener" || response.kind !== request.kind) return;
      const isPending = isSuccess(response) && response.data.promise.state === "pending";
      if (!isPending) ids.delete(request.data.awaited);
    },
    takes: (message) => message.kind !== "unblock" || ids.delete(message.data.promise.id),
  };
};
