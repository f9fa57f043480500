import { setTimeout } from "node:timers/promises";
import type { Network, Request, Send } from "@resonatehq/sdk";
import { doneWithin } from "../support/retry.ts";
import { handBack } from "./hand-back.ts";
import type { Leases } from "./leases.ts";
import { requestHead } from "./request.ts";

/** Thrown at the checkpoint at which a draining worker stops an execution; the SDK then gives up its lease. */
class DrainingError extends Error {
  readonly code = "DRAINING";
  readonly canRetry = true;
  override name = "DrainingError";
}

/**
 * A server learns a moment later that a worker's connection is closed. What is handed back before that it may send to
 * this worker still, where it is lost, and to another one only after its retry timeout.
 */
const DISCONNECT_MS = 250;

export interface HandOver {
  /** Sends a request, unless this worker drains and the request would begin another step. */
  readonly send: Send;
  /**
   * Stops taking executions, lets running steps end for at most `graceMs`, and hands back the leases of those that
   * do not, so that another worker goes on at once. Executions stop at their next checkpoint.
   */
  drain(graceMs: number): Promise<void>;
  /** Gives up the lease of one execution, which this worker cannot go on with for now. */
  handBack(executionId: string): Promise<void>;
}

/** @param source where messages come from: it is stopped first */
export const createHandOver = (
  leases: Pick<Leases, "send" | "held" | "leaseOf" | "idle">,
  source: Pick<Network, "stop">,
): HandOver => {
  let draining = false;
  let disconnected = Promise.resolve();
  const goingBack = new Set<string>();

  const send: Send = async (typed) => {
    const request: Request = typed;
    if (draining && request.kind === "task.fence" && request.data.action.kind === "promise.create") {
      throw new DrainingError("this worker stops: another one goes on from here");
    }
    if (draining && request.kind === "task.release") await disconnected;
    return leases.send(typed);
  };

  return {
    send,
    handBack: async (executionId) => {
      const version = leases.leaseOf(executionId);
      if (version === undefined || goingBack.has(executionId)) return;
      goingBack.add(executionId);
      await handBack(send, { id: executionId, version }).finally(() => goingBack.delete(executionId));
    },
    drain: async (graceMs) => {
      draining = true;
      disconnected = source.stop().then(() => setTimeout(DISCONNECT_MS));
      // Executions that were on their way here have come by then, and are held.
      await disconnected;
      await doneWithin(leases.idle(), graceMs);
      const releases = leases.held().map((data) => send({ kind: "task.release", head: requestHead(), data }));
      await Promise.allSettled(releases);
    },
  };
};
