import { tell } from "./telemetry.ts";

/** How often the server is asked when nothing else was, in milliseconds. */
const PROBE_MS = 2000;
/** So long without an answer, in milliseconds, and the server counts as lost. */
const LOST_AFTER_MS = 30_000;

export interface ServerWatchOptions {
  /** Asks the server for anything; resolves when it answers. */
  readonly probe: () => Promise<unknown>;
  readonly onLost: () => void;
  readonly onBack: () => void;
  /** Told when the server answers again, and how long it had not, in milliseconds. */
  readonly onOutageOver: (ms: number) => void;
}

/** Whether this worker reaches the Resonate server. */
export interface ServerWatch extends Disposable {
  readonly isLost: boolean;
  /** To be called at each answer, and for each request that has none. */
  answered(): void;
  unanswered(): void;
}

/** Watches whether the server answers this worker, and asks it where nothing else does. */
export const watchServer = ({ probe, onLost, onBack, onOutageOver }: ServerWatchOptions): ServerWatch => {
  const now = () => performance.now();
  let answeredAt = now();
  let isLost = false;
  let isProbing = false;
  let outageSince: number | undefined;

  const check = () => {
    const silence = now() - answeredAt;
    if (silence >= LOST_AFTER_MS && !isLost) {
      isLost = true;
      onLost();
    }
    if (silence < PROBE_MS || isProbing) return;
    isProbing = true;
    probe()
      .catch(() => {})
      .finally(() => {
        isProbing = false;
      });
  };
  const timer = setInterval(check, PROBE_MS);
  return {
    get isLost() {
      return isLost;
    },
    unanswered: () => {
      if (outageSince !== undefined) return;
      outageSince = answeredAt;
      tell("outage.begun", { system: "server", error: "a request was not answered" });
    },
    answered: () => {
      answeredAt = now();
      if (outageSince !== undefined) {
        const ms = answeredAt - outageSince;
        tell("outage.over", { system: "server", ms });
        onOutageOver(ms);
      }
      outageSince = undefined;
      if (!isLost) return;
      isLost = false;
      onBack();
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
};
