/** How often timers are looked at, in milliseconds. */
const TICK_MS = 50;
/** The clock takes at most this share of the process's time: a look at very many timers takes long. */
const MAX_SHARE = 0.1;

export interface Clock {
  start(): void;
  stop(): void;
}

/** Calls `tick` twenty times a second, one call after the other, and less often where a call takes long. */
export const createClock = (tick: () => Promise<void>): Clock => {
  let timer: NodeJS.Timeout | undefined;
  let runs = false;
  const next = (ms: number) => {
    timer = setTimeout(async () => {
      const began = performance.now();
      // One look that fails is not the last one.
      await tick().catch(() => {});
      if (runs) next(Math.max(TICK_MS, (performance.now() - began) / MAX_SHARE));
    }, ms);
  };
  return {
    start: () => {
      if (runs) return;
      runs = true;
      next(TICK_MS);
    },
    stop: () => {
      runs = false;
      clearTimeout(timer);
    },
  };
};
