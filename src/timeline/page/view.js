import { STATES } from "./data.js";

/** @import { Data, Span } from "./data.js" */

/** The shortest time that fills the width, in milliseconds. */
const MIN_SPAN_MS = 5;

/**
 * What of the data is shown: a stretch of time, and the lanes that pass the filters.
 *
 * @param {Data} data
 */
export const createView = (data) => {
  const margin = data.duration * 0.01;
  const whole = { from: -margin, to: data.duration + margin };
  /** @type {Set<number>} */
  const workers = new Set(data.workers.keys());
  /** @type {Set<string>} */
  const states = new Set(STATES);
  let { from, to } = whole;
  let lanes = data.lanes;
  let search = "";

  /** Whether a span passes the filters. @param {Span} span */
  const shows = (span) => states.has(span.state) && (span.worker < 0 || workers.has(span.worker));
  /** Shows the time between two points, as far as there is any. @param {number} begin @param {number} end */
  const show = (begin, end) => {
    const span = Math.max(MIN_SPAN_MS, Math.min(end - begin, whole.to - whole.from));
    from = Math.max(whole.from, Math.min(begin, whole.to - span));
    to = from + span;
  };

  return {
    /** All the time there is. */
    whole,
    workers,
    states,
    get from() {
      return from;
    },
    get to() {
      return to;
    },
    /** The lanes that pass the filters. */
    get lanes() {
      return lanes;
    },
    shows,
    show,
    /** To be called when `workers` or `states` have changed. @param {string} part of the record ids */
    filter: (part = search) => {
      search = part;
      const allWorkers = workers.size === data.workers.length;
      const allStates = states.size === STATES.length;
      lanes = data.lanes.filter(
        (lane) =>
          lane.id.includes(search) &&
          ((allWorkers && allStates) ||
            lane.spans.some((span) => shows(span) && (allWorkers || span.worker >= 0))),
      );
    },
    /** Makes what is shown `factor` times as long; `at` stays where it is. @param {number} factor @param {number} at */
    zoom: (factor, at = (from + to) / 2) => {
      const span = Math.max(MIN_SPAN_MS, (to - from) * factor);
      const share = (at - from) / (to - from);
      show(at - share * span, at + (1 - share) * span);
    },
    /** Moves by a share of what is shown. @param {number} share */
    pan: (share) => {
      const by = (to - from) * share;
      show(from + by, to + by);
    },
    reset: () => show(whole.from, whole.to),
  };
};

/** @typedef {ReturnType<typeof createView>} View */
