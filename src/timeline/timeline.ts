import type { EventLine } from "./event-line.ts";
import { createLane, type Lane } from "./lane.ts";

/** A worker, in the order in which it was first heard of. */
interface Worker {
  readonly pid: number;
  /** As it names itself when it is ready; before, its process id. */
  name: string;
  /** When it was last heard of. */
  lastAt: number;
}

/** What befell a worker: a kill, a stop, a freeze. `lost` where nobody told of it, but others took its work over. */
interface Strike {
  readonly at: number;
  readonly worker: number;
  readonly kind: string;
}

/** A worker goes on with what another one had left in the middle of a step. */
export interface Takeover {
  readonly at: number;
  readonly id: string;
  readonly from: number;
  readonly by: number;
  readonly step: string;
  readonly key: string;
  /** Milliseconds since the record was left: since what befell the other worker, or since that was last heard of. */
  readonly gapMs: number;
}

/** What happened to records and workers. Times are milliseconds since 1970; workers are given by their number. */
export interface Timeline {
  readonly workers: readonly Worker[];
  /** By record id, in the order in which they were first heard of. */
  readonly lanes: ReadonlyMap<string, Lane>;
  readonly strikes: readonly Strike[];
  readonly takeovers: readonly Takeover[];
  /** Of the first and the last event; 0 where there is none. */
  readonly from: number;
  readonly to: number;
  /** Whether all that was begun has ended. */
  readonly isOver: boolean;
  /** Takes one more event in, in the order of time. */
  add(line: EventLine): void;
}

/** What people call a worker: A is the first one. */
export const workerLabel = (worker: number): string => {
  const letter = String.fromCharCode(65 + (worker % 26));
  return `worker ${letter}${worker < 26 ? "" : Math.floor(worker / 26) + 1}`;
};

/** What is told of one thing by several events is told within so many milliseconds. */
const SAME_MS = 100;
/** Signals that end a worker at once. */
const DEADLY = "SIGKILL";

export const createTimeline = (): Timeline => {
  const workers: Worker[] = [];
  /** By host and process id, and by name. */
  const numbers = new Map<string, number>();
  const lanes = new Map<string, Lane>();
  const strikes: Strike[] = [];
  const takeovers: Takeover[] = [];
  let [from, to] = [0, 0];

  const numberOf = (who: string, pid: number, name: string): number =>
    numbers.getOrInsertComputed(who, () => workers.push({ pid, name, lastAt: 0 }) - 1);
  const laneOf = (id: string) => lanes.getOrInsertComputed(id, () => createLane(id));
  const lastStrike = (worker: number) => strikes.findLast((strike) => strike.worker === worker);

  const lostAt = (worker: number) => lastStrike(worker)?.at ?? workers[worker]?.lastAt ?? 0;

  const strike = (worker: number, at: number, kind: string) => {
    strikes.push({ at, worker, kind });
    if (kind === DEADLY) for (const lane of lanes.values()) lane.cut(worker, at);
  };

  const takeOver = (line: EventLine, id: string, by: number) => {
    const name = line.text("from") ?? "";
    // Its name begins with its process id: one that died before it was ready has told no other.
    const pid = Number.parseInt(name, 10);
    const known = numbers.get(name) ?? workers.findLastIndex((worker) => worker.pid === pid);
    const other = known >= 0 ? known : numberOf(name, pid, name);
    if (lastStrike(other) === undefined) strike(other, lostAt(other), "lost");
    // The last one to have it may have been another than the one that first began the step.
    const cut = laneOf(id).spans.findLast(({ state }) => state === "orphaned");
    const isNew = cut !== undefined && line.time - cut.to < SAME_MS;
    const [left = other, since] = isNew ? [cut.worker, cut.from] : [other, lostAt(other)];
    const [step = "", key = ""] = [line.text("step"), line.text("key")];
    takeovers.push({ at: line.time, id, from: left, by, step, key, gapMs: line.time - since });
  };

  const add = (line: EventLine) => {
    from ||= line.time;
    to = Math.max(to, line.time);
    const worker = numberOf(`${line.hostname}/${line.pid}`, line.pid, String(line.pid));
    const own = workers[worker];
    if (line.event === "worker.struck") return strike(worker, line.time, line.text("kind") ?? "");
    if (own === undefined) return;
    own.lastAt = line.time;
    if (line.event === "worker.ready") {
      own.name = line.text("worker") ?? own.name;
      numbers.set(own.name, worker);
    }
    const id = line.text("id");
    if (id === undefined) return;
    const lane = laneOf(id);
    if (line.event !== "execution.taken-over") lane.add(line, worker, lostAt);
    else takeOver(line, id, worker);
  };

  return {
    workers,
    lanes,
    strikes,
    takeovers,
    get from() {
      return from;
    },
    get to() {
      return to;
    },
    get isOver() {
      return [...lanes.values()].every(({ outcome }) => outcome !== undefined);
    },
    add,
  };
};
