/** The part of kafkajs 2.2.4's src/consumer/batch.js that topic-reader.ts uses; it has no types. */
declare module "kafkajs/src/consumer/batch.js" {
  import type { KafkaMessage } from "kafkajs";
  export default class Batch {
    constructor(
      topic: string,
      fetchedOffset: string,
      partitionData: { readonly messages: readonly unknown[] },
    );
    /** Without control records and messages of aborted transactions. */
    readonly messages: KafkaMessage[];
    lastOffset(): string;
  }
}
