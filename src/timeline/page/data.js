/**
 * @typedef {{ state: string, from: number, to: number, worker: number, step: string, call: string, attempt: number,
 *   end: string, error: string }} Span what a record did; times are milliseconds since the start, `worker` is -1
 *   where there is none
 * @typedef {{ at: number, from: number, by: number, gapMs: number }} Takeover
 * @typedef {{ id: string, outcome: string, spans: Span[], takeovers: Takeover[] }} Lane
 * @typedef {{ label: string, name: string }} Worker
 * @typedef {{ at: number, worker: number, kind: string }} Strike
 * @typedef {{ startedAt: number, duration: number, workers: Worker[], strikes: Strike[], lanes: Lane[],
 *   prefix: string }} Data `prefix` is what all record ids begin with
 */

export const STATES = /** @type {const} */ (["running", "retrying", "orphaned", "asleep", "queued"]);

/**
 * Reads what html.ts has written: names are numbers there, spans are lists.
 *
 * @param {string} json
 * @returns {Data}
 */
export const readData = (json) => {
  const { names, lanes, ...rest } = JSON.parse(json);
  return {
    ...rest,
    prefix: commonPrefix(lanes.map((/** @type {[string]} */ [id]) => id)),
    lanes: lanes.map((/** @type {any} */ [id, outcome, spans, takeovers]) => ({
      id,
      outcome,
      takeovers: takeovers.map((/** @type {number[]} */ [at, from, by, gapMs]) => ({ at, from, by, gapMs })),
      spans: spans.map((/** @type {any[]} */ [state, from, ms, worker, step, call, attempt, end, error]) => ({
        state: names[state],
        from,
        to: from + ms,
        worker,
        step: names[step],
        call,
        attempt,
        end: names[end],
        error: error ?? "",
      })),
    })),
  };
};

/** What all texts begin with. @param {string[]} texts */
const commonPrefix = ([first = "", ...others]) => {
  let length = others.length > 0 ? first.length : 0;
  for (const text of others) while (!text.startsWith(first.slice(0, length))) length -= 1;
  return first.slice(0, length);
};

/** @param {number} ms */
export const formatMs = (ms) => {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
};

/** What a state is called where people read it. */
export const STATE_NAMES = {
  running: "running",
  retrying: "waiting to try again",
  orphaned: "without a worker",
  asleep: "asleep",
  queued: "queued",
};

/**
 * A span in words, one line each.
 *
 * @param {Data} data
 * @param {Lane} lane
 * @param {Span} span
 * @returns {string[]}
 */
export const describeSpan = (data, lane, span) => {
  const worker = data.workers[span.worker];
  const takeover = lane.takeovers.find(({ at }) => span.state === "orphaned" && Math.abs(at - span.to) < 50);
  const ends = {
    done: "",
    failed: "failed",
    cut: "cut: its worker died",
    answered: "answered from the ledger",
  };
  const step = span.step ? `${span.step}${span.call === "" ? "" : ` ${span.call}`}` : "";
  return [
    `record ${lane.id}`,
    [STATE_NAMES[/** @type {keyof typeof STATE_NAMES} */ (span.state)], step].filter(Boolean).join(": "),
    worker ? `${span.state === "orphaned" ? "left by " : ""}${worker.label} (${worker.name})` : "",
    `${formatMs(span.to - span.from)}, from ${formatMs(span.from)} to ${formatMs(span.to)}`,
    span.attempt > 1 ? `attempt ${span.attempt}` : "",
    ends[/** @type {keyof typeof ends} */ (span.end)] ?? "",
    takeover
      ? `${data.workers[takeover.by]?.label} took over ${formatMs(takeover.gapMs)} after the loss`
      : "",
    span.error,
  ].filter(Boolean);
};
