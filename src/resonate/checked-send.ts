import { isResponse, type Logger, type Request, ResonateTimeoutException, type Send } from "@resonatehq/sdk";
import { describe } from "../support/errors.ts";
import { isAnswer, takePoison } from "./answers.ts";
import { isRefusal, RefusedError } from "./refusals.ts";

/** What the protocol says by status, beside refusals; any other comes from something else, or is broken. */
const PROTOCOL_STATUSES: ReadonlySet<number> = new Set([200, 300, 404, 409, 501]);

/** Whether a status is the protocol's: an answer, be it a refusal. */
export const isProtocolStatus = (status: number): boolean =>
  PROTOCOL_STATUSES.has(status) || isRefusal(status);

/** What no proper answer came of, as the SDK takes it. `exchange` sends a request and says what came back. */
export const checkedSend =
  (exchange: (request: Request) => Promise<unknown>, logger: Logger): Send =>
  async (typed) => {
    try {
      const response = await exchange(typed);
      if (isResponse(response) && !isProtocolStatus(response.head.status))
        throw new Error(`status ${response.head.status}: ${response.data}`);
      if (!isAnswer(response, typed)) throw new Error("the response does not match the request");
      takePoison(typed, response);
      return response;
    } catch (error) {
      if (error instanceof RefusedError) throw error;
      const cause = describe(error);
      logger.warn({ kind: typed.kind, error: cause }, "a request to the server failed");
      throw new ResonateTimeoutException(cause);
    }
  };
