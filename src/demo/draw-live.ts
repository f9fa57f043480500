import { stripVTControlCharacters, type styleText } from "node:util";
import type { Lane, Span, State } from "../timeline/lane.ts";
import { workerLabel } from "../timeline/timeline.ts";
import type { DemoState } from "./demo-view.ts";

type Format = Parameters<typeof styleText>[0];

export interface DrawOptions {
  readonly columns: number;
  readonly rows: number;
  /** The last things that happened. */
  readonly notes: readonly string[];
  readonly paint: (format: Format, text: string) => string;
  /** Without colours a cell is the letter of its worker. */
  readonly isColoured: boolean;
  /** Milliseconds since 1970. */
  readonly now: number;
}

const WORKER_COLOURS = ["cyan", "magenta", "yellow", "blue", "green"] as const;
/** Rows that are not lanes, beside the notes. */
const OTHER_ROWS = 6;
const LANE_COLUMNS = 39;
const ID_CHARACTERS = 8;
const KILL = "┃";

/** A text of `width` characters on the screen, however many codes for colours it holds. */
const fit = (text: string, width: number): string =>
  text + " ".repeat(Math.max(0, width - stripVTControlCharacters(text).length));

/** How each step of a record stands, with when its last run began. */
const cellsOf = (lane: Lane) => {
  const cells = new Map<string, { since: number; last: Span }>();
  for (const span of lane.spans) {
    if (span.key === undefined) continue;
    const since = span.state === "running" ? span.from : (cells.get(span.key)?.since ?? span.from);
    cells.set(span.key, { since, last: span });
  }
  return [...cells.values()];
};

const createPainter = ({ paint, isColoured }: DrawOptions) => {
  const drawWorker = (number: number, coloured: string, plain?: string): string => {
    const letter = workerLabel(number).slice(-1);
    return isColoured
      ? paint(WORKER_COLOURS[number % WORKER_COLOURS.length] ?? "white", coloured)
      : (plain ?? letter);
  };
  const drawCell = (span: Span): string => {
    const { end, step } = span;
    if (span.state === "orphaned") return paint(["red", "bold"], "✗");
    if (span.state === "retrying") return paint("yellow", "↻");
    const worker = span.worker ?? 0;
    if (end === undefined || end === "failed") return drawWorker(worker, "▶", ">");
    if (step === "enqueueCompletion") return paint("green", "✓");
    return drawWorker(worker, end === "answered" ? "◆" : "■", end === "answered" ? "◆" : undefined);
  };
  return { drawWorker, drawCell };
};

const drawLane = (
  { id, batches }: DemoState["records"][number],
  state: DemoState,
  options: DrawOptions,
): string => {
  const { paint } = options;
  const { timeline } = state;
  const { drawCell } = createPainter(options);
  const lane = timeline.lanes.get(id);
  const kills = [...timeline.strikes];
  const parts: string[] = [];
  const cells = lane ? cellsOf(lane) : [];
  const markUntil = (at: number) => {
    while (kills[0] && kills[0].at <= at) {
      kills.shift();
      parts.push(paint(["red", "bold"], KILL));
    }
  };
  for (const { since, last } of cells) {
    markUntil(since);
    parts.push(drawCell(last));
  }
  markUntil(Number.POSITIVE_INFINITY);
  // Cut between two steps: there is no cell to show it.
  if (lane?.current?.state === "orphaned" && lane.current.key === undefined)
    parts.push(paint(["red", "bold"], "✗"));
  if (lane?.current?.state === "asleep") parts.push(paint("dim", "z"));
  const left = batches + 1 - cells.length;
  if (lane?.outcome === undefined && left > 0) parts.push(paint("dim", "·".repeat(left)));
  const width = LANE_COLUMNS - ID_CHARACTERS - 3;
  return fit(`${paint("dim", id.slice(0, ID_CHARACTERS))} ${clip(parts, width).join("")}`, LANE_COLUMNS);
};

/** The end of a lane that is too long is what counts; a run of cells to come may be cut from its own end. */
const clip = (parts: readonly string[], width: number): readonly string[] => {
  const length = (part: string) => stripVTControlCharacters(part).length;
  let kept = [...parts];
  const total = () => kept.reduce((sum, part) => sum + length(part), 0);
  const ahead = kept.at(-1);
  if (total() > width && ahead !== undefined && length(ahead) > 1) kept = kept.slice(0, -1);
  while (total() > width - 1 && kept.length > 1) kept = kept.slice(1);
  return kept.length + 1 < parts.length ? ["…", ...kept] : kept;
};

const countStates = ({ timeline, records }: DemoState) => {
  const counts = new Map<State, number>();
  for (const { id } of records) {
    const lane = timeline.lanes.get(id);
    if (lane?.outcome !== undefined) continue;
    const state = lane?.current?.state ?? "queued";
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  return (state: State) => counts.get(state) ?? 0;
};

/** What the demo waits for at this moment. */
const describeWait = (state: DemoState, { now, paint }: DrawOptions): string => {
  const count = countStates(state);
  const strike = state.timeline.strikes.at(-1);
  const left = Math.max(0, (strike?.at ?? 0) + state.leaseMs - now) / 1000;
  const lease = `waiting for the lease of ${workerLabel(strike?.worker ?? 0)}, ${left.toFixed(1)} s`;
  const parts = [
    ["orphaned", lease],
    ["running", "running"],
    ["retrying", "waiting to try again"],
    ["asleep", "asleep"],
    ["queued", "waiting for a worker"],
  ] as const;
  return parts
    .filter(([own]) => count(own) > 0)
    .map(([own, what]) => paint(own === "orphaned" ? ["red", "bold"] : [], `${count(own)} ${what}`))
    .join(", ");
};

const drawBar = (share: number, width: number): string => {
  const full = Math.round(share * width);
  return `${"█".repeat(full)}${"░".repeat(width - full)}`;
};

/** The demo as it stands, as lines for a terminal of that size: never more than fit. */
export const drawLive = (state: DemoState, options: DrawOptions): string => {
  const { columns, rows, paint, now } = options;
  // In a low terminal the lanes have half of the room.
  const notes = options.notes.slice(-Math.max(1, Math.floor((rows - OTHER_ROWS) / 2)));
  const { timeline, records, applied } = state;
  const { drawWorker } = createPainter(options);
  const across = Math.max(1, Math.floor(columns / LANE_COLUMNS));
  const room = Math.max(1, rows - OTHER_ROWS - notes.length);
  const height = Math.min(room, Math.ceil(records.length / across));
  const first = records.findIndex(({ id }) => timeline.lanes.get(id)?.outcome === undefined);
  const start = Math.max(
    0,
    Math.min(first < 0 ? records.length : first - 1, records.length - across * height),
  );
  const shown = records.slice(start, start + across * height).map((own) => drawLane(own, state, options));
  const lanes = Array.from({ length: height }, (_, row) =>
    Array.from({ length: across }, (_, column) => shown[column * height + row] ?? "").join(" "),
  );

  const dead = new Set(timeline.strikes.map(({ worker }) => worker));
  const workers = applied.map((batches, number) => {
    const how = dead.has(number) ? paint("red", " killed") : "";
    return `${drawWorker(number, "■")} ${workerLabel(number)}: ${batches}${how}`;
  });
  const total = records.reduce((sum, { batches }) => sum + batches, 0);
  const batches = applied.reduce((sum, own) => sum + own, 0);
  const seconds = ((now - state.startedAt) / 1000).toFixed(1);
  const counts = ` ${state.done} of ${state.count} records, ${batches} of ${total} batches, ${seconds} s`;
  const legend = `■ batch  ▶ running  ↻ retry  z asleep  ✗ cut  ◆ from the ledger  ${KILL} kill -9`;
  const cut = (line: string) =>
    stripVTControlCharacters(line).length < columns
      ? line
      : `${stripVTControlCharacters(line).slice(0, columns - 2)}…`;
  return [
    `${workers.join("   ")} batches`,
    paint("dim", legend),
    ...lanes,
    `${paint("green", drawBar(total === 0 ? 0 : batches / total, Math.max(8, Math.min(30, columns - counts.length - 2))))}${counts}`,
    describeWait(state, options),
    ...notes,
  ]
    .map(cut)
    .join("\n");
};
