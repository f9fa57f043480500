import type { HttpAdapter, Logger, Send } from "@resonatehq/sdk";
import type { Access } from "./access.ts";

/** Where the executions come from that a worker is to take up. */
export interface MessageSource extends HttpAdapter {
  /** This worker's own address at present. */
  readonly unicast: string;
  /** Called whenever messages can arrive again, after they could not. */
  onReconnected: () => void;
}

/** What leads to where the executions are kept, and back. */
export interface Transport extends AsyncDisposable {
  readonly messages: MessageSource;
  /**
   * @throws {ResonateTimeoutException} when no proper answer comes: the SDK's word for "try again"
   * @throws {RefusedError} when something before the server refuses the request for good
   */
  readonly send: Send;
  /** Begins to notice when messages do not arrive although requests pass, where that can be. */
  readonly watch?: (send: Send) => Disposable;
}

export interface TransportOptions {
  readonly access: Access;
  /** The worker group. */
  readonly group: string;
  /** Unique among all workers. */
  readonly pid: string;
  readonly logger: Logger;
  /**
   * How many more executions this worker has room for now. Where executions are fetched, it takes no more, and leaves
   * the rest to others. Absent: any number.
   */
  readonly room?: () => number;
}
