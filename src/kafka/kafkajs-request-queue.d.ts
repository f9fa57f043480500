/** The part of kafkajs 2.2.4's src/network/requestQueue/index.js that kafka.ts works around; it has no types. */
declare module "kafkajs/src/network/requestQueue/index.js" {
  export default class RequestQueue {
    readonly pending: readonly unknown[];
    readonly throttledUntil: number;
    scheduleCheckPendingRequests(): void;
  }
}
