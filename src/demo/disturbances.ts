import { DatabaseSync } from "node:sqlite";
import { setTimeout } from "node:timers/promises";
import type { ResonateProxy } from "./resonate-proxy.ts";

/** How long each lasts, in milliseconds. */
const SLOW_MS = 6000;
const LOCK_MS = 4000;
/** By how much a slow server answers later, in milliseconds. */
const DELAY_MS = 600;

/** What befalls server and row store, not a worker. Each ends by itself. */
export interface Disturbances {
  slowServer(): void;
  lockStore(): void;
}

/** @param recordsDb the row store; only a SQLite file can be locked */
export const createDisturbances = (proxy: ResonateProxy, recordsDb: string): Disturbances => {
  let slowUntil = 0;
  proxy.onRequest = async () => {
    if (Date.now() < slowUntil) await setTimeout(DELAY_MS);
  };
  let isLocked = false;
  const lock = async () => {
    if (isLocked || recordsDb.includes("://")) return;
    isLocked = true;
    const db = new DatabaseSync(recordsDb);
    try {
      db.exec("BEGIN IMMEDIATE");
      await setTimeout(LOCK_MS);
      db.exec("ROLLBACK");
    } catch {
      // A worker held it at this moment: that is a lock, too.
    } finally {
      db.close();
      isLocked = false;
    }
  };
  return {
    slowServer: () => {
      slowUntil = Date.now() + SLOW_MS;
    },
    lockStore: () => void lock(),
  };
};
