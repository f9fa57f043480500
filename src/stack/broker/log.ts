import { type ErrorCode, errors } from "./errors.ts";
import { checkBatch, placeBatch } from "./record-batch.ts";

interface StoredBatch {
  readonly bytes: Buffer;
  readonly baseOffset: bigint;
  readonly lastOffset: bigint;
  /** Milliseconds since the epoch: the largest timestamp of this batch and all before it, so that it only rises. */
  readonly newestTimestamp: bigint;
  /** How many bytes of the log stand before this batch. */
  readonly position: number;
}

/** Index of the first item the predicate holds for, given that it holds for all after it too. */
const lowerBound = <T>(items: readonly T[], holds: (item: T) => boolean): number => {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const item = items[middle];
    if (item !== undefined && holds(item)) high = middle;
    else low = middle + 1;
  }
  return low;
};

/** The log of one partition, in memory and never trimmed. Lookups are binary searches. */
export class PartitionLog {
  readonly #batches: StoredBatch[] = [];
  readonly #listeners = new Set<(bytes: number) => void>();
  readonly #maxMessageBytes: number;
  #size = 0;

  constructor(maxMessageBytes: number) {
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** The offset the next record will get: high watermark and last stable offset alike, there is one replica. */
  get endOffset(): bigint {
    const last = this.#batches.at(-1);
    return last === undefined ? 0n : last.lastOffset + 1n;
  }

  /** Appends one produced record set, or leaves the log as it was. @see checkBatch for the error codes */
  append(records: Buffer): { error: ErrorCode; baseOffset: bigint } {
    const error = checkBatch(records, this.#maxMessageBytes);
    if (error !== errors.none) return { error, baseOffset: -1n };
    const { maxTimestamp, ...placed } = placeBatch(records, this.endOffset);
    const before = this.#batches.at(-1)?.newestTimestamp;
    const rises = before === undefined || before < maxTimestamp;
    this.#batches.push({ ...placed, newestTimestamp: rises ? maxTimestamp : before, position: this.#size });
    this.#size += placed.bytes.length;
    for (const listener of this.#listeners) listener(placed.bytes.length);
    return { error, baseOffset: placed.baseOffset };
  }

  /** Whether a consumer may ask for this offset; the end of the log counts. */
  holds(offset: bigint): boolean {
    return offset >= 0n && offset <= this.endOffset;
  }

  /** Bytes of log from the batch that contains the offset. */
  bytesFrom(offset: bigint): number {
    const first = this.#batches[this.#indexOf(offset)];
    return first === undefined ? 0 : this.#size - first.position;
  }

  /** Whole batches from the one that contains the offset, up to `maxBytes`; `atLeastOne` if it is larger than that. */
  read(offset: bigint, maxBytes: number, atLeastOne: boolean): Buffer[] {
    const batches: Buffer[] = [];
    let budget = maxBytes;
    for (let index = this.#indexOf(offset); index < this.#batches.length; index++) {
      const bytes = this.#batches[index]?.bytes;
      if (bytes === undefined || (bytes.length > budget && !(atLeastOne && batches.length === 0))) break;
      batches.push(bytes);
      budget -= bytes.length;
    }
    return batches;
  }

  /** Start of the first batch that has a record as young as `timestamp` (milliseconds), undefined when none has. */
  findTimestamp(timestamp: bigint): { offset: bigint; timestamp: bigint } | undefined {
    const batch = this.#batches[lowerBound(this.#batches, (item) => item.newestTimestamp >= timestamp)];
    return batch && { offset: batch.baseOffset, timestamp: batch.newestTimestamp };
  }

  /** Calls back with the size in bytes of each batch appended from now on. @returns what ends it */
  onAppend(listener: (bytes: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #indexOf(offset: bigint): number {
    return lowerBound(this.#batches, (batch) => batch.lastOffset >= offset);
  }
}
