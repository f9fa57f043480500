import type { Send } from "@resonatehq/sdk";
import { requestHead } from "../resonate/request.ts";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import type { Begin } from "./begin.ts";
import type { InFlight } from "./in-flight.ts";

/** How many executions are asked for at once. */
const CONCURRENCY = 8;

export interface LostExecutionsOptions {
  readonly send: Send;
  /** Where the server sends what this worker asked to be told. */
  readonly address: string;
  readonly begin: Begin;
  readonly inFlight: Pick<InFlight, "begun" | "watch" | "mayEndElsewhere">;
  readonly log: Log;
}

/**
 * Asks the server anew to tell of the end of what this worker has begun: what it told a stream that was dead is lost.
 * Begins again what the server does not know any more, because it came back without its state: steps that had taken
 * effect are answered by their idempotency keys.
 *
 * @returns how many there were
 * @throws when the server goes away again meanwhile
 */
const beginLostAgain = async ({
  send,
  address,
  begin,
  inFlight,
  log,
}: LostExecutionsOptions): Promise<number> => {
  const begun = [...inFlight.begun()];
  let lost = 0;
  const checkInTurn = async () => {
    for (let one = begun.pop(); one !== undefined; one = begun.pop()) {
      const [id, text] = one;
      const found = await send({
        kind: "promise.register_listener",
        head: requestHead(),
        data: { awaited: id, address },
      });
      if (found.head.status !== 404) continue;
      lost += 1;
      const again = await begin(id, text);
      inFlight.watch(id, text, again);
      if (again.outcome !== "started") inFlight.mayEndElsewhere(id);
    }
  };
  try {
    await Promise.all(Array.from({ length: CONCURRENCY }, checkInTurn));
  } finally {
    if (lost > 0) {
      log.warn(
        `the Resonate server has lost its state: ${lost} executions that this worker had begun were begun again. For those of other workers, set the consumer group's offsets back`,
      );
    }
  }
  return lost;
};

/** The same, never throwing: what fails is logged, and the next reconnect tries again. */
export const tryBeginLostAgain = async (options: LostExecutionsOptions): Promise<void> => {
  await beginLostAgain(options).catch((error) =>
    options.log.warn(`cannot see whether executions were lost: ${describe(error)}`),
  );
};
