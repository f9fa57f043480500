import RequestQueue from "kafkajs/src/network/requestQueue/index.js";

const scheduleCheck = RequestQueue.prototype.scheduleCheckPendingRequests;

/**
 * Works around kafkajs 2.2.4 (issues 1751, 1704): a connection with nothing to send wakes up a thousand times a
 * second, 6 to 8 % of a core for an idle consumer. Can go with a release that holds pull request 1572 or 1768.
 */
export const sleepWhenIdle = (): void => {
  RequestQueue.prototype.scheduleCheckPendingRequests = function (this: RequestQueue) {
    if (this.pending.length > 0 || this.throttledUntil > Date.now()) scheduleCheck.call(this);
  };
};
