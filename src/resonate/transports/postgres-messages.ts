import { setTimeout } from "node:timers/promises";
import { isMessage, type Message } from "@resonatehq/sdk";
import { describe } from "../../support/errors.ts";
import { sqlState } from "../../support/postgres.ts";
import { doneWithin } from "../../support/retry.ts";
import type { MessageSource, TransportOptions } from "../transport.ts";
import type { Query } from "./database.ts";

/** Between two looks for timers and messages, in milliseconds: the longer nothing happens, the longer. */
const MIN_POLL_MS = 50;
const MAX_POLL_MS = 250;
/** Of the time since something happened: a sleep is late by this share of it. */
const POLL_SHARE = 0.25;
/** The pause where all the room was filled: what was taken has begun its steps by then. In milliseconds. */
const SOON_MS = 20;
/** Before the next look after one that failed, in milliseconds. */
const RETRY_MS = 1000;
/** Messages and timers at once. */
const LIMIT = 100;
/** How long a stop waits for messages that are under way, in milliseconds. */
const STOP_MS = 1000;

const due = (table: string, condition: string) => `
  SELECT * FROM (
    SELECT id, state, (extract(epoch FROM now()) * 1000)::bigint AS now FROM resonate.${table}
    WHERE ${condition} AND timeout_at <= (extract(epoch FROM now()) * 1000)::bigint
    ORDER BY timeout_at LIMIT ${LIMIT}
  ) AS due
  ORDER BY id OFFSET 0`;

/** What nobody else works on at the moment: another worker's look, or a request. The next look finds what is left. */
const FREE = "pg_try_advisory_xact_lock(hashtextextended(id, 0))";

/**
 * Ends the timers and leases that are due.
 *
 * In place of the schema's process_timeouts, which reads all promises there are, those that have ended included: a
 * second and more for 200,000. Here they are found by the schema's indexes.
 */
const TIMERS = {
  name: "timers",
  text: `
SELECT resonate._on_promise_timeout(id, now)::text
FROM (${due("promises", "state = 'pending' AND external")}) AS timers WHERE ${FREE}
UNION ALL
SELECT CASE state
  WHEN 'pending' THEN resonate._on_task_retry_timeout(id, now)::text
  ELSE resonate._on_task_lease_timeout(id, now)::text
END
FROM (${due("tasks", "state IN ('pending', 'acquired')")}) AS leases WHERE ${FREE}`,
};

/**
 * Has a table analyzed that never was. Autovacuum leaves one alone that has had no rows, and Postgres takes it for a
 * large one: each result then reads all promises that are pending (`_cascade_settle` of the schema).
 */
const ANALYZE = {
  name: "analyze",
  text: `
DO $$ BEGIN
  IF (SELECT reltuples < 0 FROM pg_class WHERE oid = 'resonate.callbacks'::regclass) THEN
    ANALYZE resonate.callbacks;
  END IF;
END $$`,
};

/** Takes what waits for the group, at most `$3` of it, or for this worker alone. */
const MESSAGES = {
  name: "messages",
  text: `
SELECT task_id AS id, version, NULL::jsonb AS promise FROM resonate.dequeue_execute($1, $3)
UNION ALL SELECT task_id, version, NULL FROM resonate.dequeue_execute($2, ${LIMIT})
UNION ALL SELECT NULL, NULL, jsonb_strip_nulls(promise) FROM resonate.dequeue_unblock($2, ${LIMIT})`,
};

/** SQLSTATEs of a lock that was waited for in vain. */
const BUSY: ReadonlySet<string | undefined> = new Set(["55P03", "40P01"]);

/** What is due is in the hands of a request, and ends with the next look. @throws any other error */
const nothingIfBusy = (error: unknown): [] => {
  if (BUSY.has(sqlState(error))) return [];
  throw error;
};

interface Row {
  readonly id: string | null;
  readonly version: number | null;
  readonly promise: unknown;
}

export interface PostgresMessagesOptions extends Omit<TransportOptions, "access"> {
  readonly query: Query;
  /** When this worker last asked for something that may be followed by a message, as `performance.now` has it. */
  readonly askedAt: () => number;
}

/** Fetches the executions that wait for this worker or its group, and drives the database's timers. */
export const createPostgresMessages = (options: PostgresMessagesOptions): MessageSource => {
  const { query, group, pid, logger, askedAt, room = () => LIMIT } = options;
  const callbacks: ((message: Message) => void)[] = [];
  const stopped = new AbortController();
  const { signal } = stopped;
  const unicast = `poll://uni@${encodeURIComponent(group)}/${encodeURIComponent(pid)}`;
  const anycast = `poll://any@${encodeURIComponent(group)}`;
  let polling = Promise.resolve();

  const deliver = ({ id, version, promise }: Row) => {
    const message =
      id === null
        ? { kind: "unblock", head: {}, data: { promise } }
        : { kind: "execute", head: {}, data: { task: { id, version } } };
    // The SDK ends the process at the end of a promise that has not ended (Resonate.notify of 0.11.5).
    if (!isMessage(message) || (message.kind === "unblock" && message.data.promise.state === "pending"))
      return;
    for (const callback of callbacks) callback(message);
  };
  let foundAt = 0;
  const pauseMs = () => {
    const idleMs = performance.now() - Math.max(foundAt, askedAt());
    return Math.min(MAX_POLL_MS, Math.max(MIN_POLL_MS, idleMs * POLL_SHARE));
  };
  /** Gives the pause before the next look, in milliseconds. */
  const look = async (): Promise<number> => {
    const ended = await query(TIMERS).catch(nothingIfBusy);
    const limit = Math.max(0, Math.min(LIMIT, room()));
    const rows = await query<Row>(MESSAGES, [anycast, unicast, limit]);
    if (ended.length + rows.length > 0) foundAt = performance.now();
    for (const row of rows) deliver(row);
    if (ended.length >= LIMIT || rows.length >= LIMIT) return 0;
    return rows.length > 0 && rows.length >= limit ? SOON_MS : pauseMs();
  };
  const poll = async () => {
    // Without it the work is only slower.
    await query(ANALYZE).catch((error) =>
      logger.warn({ error: describe(error) }, "resonate.callbacks was not analyzed"),
    );
    let isAway = false;
    while (!signal.aborted) {
      try {
        const pause = await look();
        if (isAway) messages.onReconnected();
        isAway = false;
        if (pause > 0) await setTimeout(pause, undefined, { signal });
      } catch (error) {
        if (signal.aborted) return;
        isAway = true;
        logger.warn({ error: describe(error) }, "no executions arrive, connecting again");
        await setTimeout(RETRY_MS, undefined, { signal }).catch(() => {});
      }
    }
  };

  const messages: MessageSource = {
    unicast,
    anycast,
    match: (target) => `poll://any@${target}`,
    init: async () => {
      polling = poll();
    },
    stop: async () => {
      stopped.abort();
      await doneWithin(polling, STOP_MS);
    },
    onReceive: (callback) => {
      callbacks.push(callback);
    },
    onReconnected: () => {},
  };
  return messages;
};
