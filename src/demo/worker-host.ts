import { startSilentUrlProxy } from "./silent-proxy.ts";

/** Where a worker of the soak runs, as far as its way to the others goes. */
export interface WorkerHost extends AsyncDisposable {
  /** The Resonate server or database with executions, as it is reached from there. */
  readonly resonateUrl: string;
  /** What the command line of a program that runs there begins with. */
  readonly command: readonly string[];
  /** Nothing passes from here on, and nothing is closed. */
  fallSilent(): void;
  /** Ends the silence. */
  recover(): void;
}

export type OpenHost = () => Promise<WorkerHost>;

/** This host, with a way of its own to what keeps the executions. */
export const onThisHost =
  (resonateUrl: string): OpenHost =>
  async () => {
    const proxy = await startSilentUrlProxy(resonateUrl);
    return Object.assign(proxy, { resonateUrl: proxy.url, command: [] });
  };
