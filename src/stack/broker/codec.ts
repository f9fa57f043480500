import { isUtf8 } from "node:buffer";

/**
 * The primitive types of the Kafka protocol before its "flexible" versions: big-endian integers, strings with
 * an int16 length, bytes and arrays with an int32 length, -1 for null (https://kafka.apache.org/protocol#protocol_types).
 */

/** Reads one request. Every method throws when the request ends too early or states an impossible length. */
export class Reader {
  readonly #buffer: Buffer;
  #position = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  readonly int8 = (): number => this.#buffer.readInt8(this.#advance(1));
  readonly int16 = (): number => this.#buffer.readInt16BE(this.#advance(2));
  readonly int32 = (): number => this.#buffer.readInt32BE(this.#advance(4));
  readonly int64 = (): bigint => this.#buffer.readBigInt64BE(this.#advance(8));
  readonly boolean = (): boolean => this.int8() !== 0;
  readonly string = (): string => this.#present(this.nullableString());
  /** A view into the request, not a copy; so is `nullableBytes`. */
  readonly bytes = (): Buffer => this.#present(this.nullableBytes());
  readonly nullableBytes = (): Buffer | null => this.#slice(this.int32());
  readonly array = <T>(readItem: () => T): T[] => this.#present(this.nullableArray(readItem));

  nullableString(): string | null {
    const bytes = this.#slice(this.int16());
    // Refused, not repaired: what other clients are told must be as long as what was read.
    if (bytes !== null && !isUtf8(bytes)) throw new RangeError("a string that is not UTF-8");
    return bytes?.toString("utf8") ?? null;
  }

  nullableArray<T>(readItem: () => T): T[] | null {
    const length = this.int32();
    if (length === -1) return null;
    // Every item takes a byte at least, so a forged length is refused before anything is allocated for it.
    this.#check(length);
    return Array.from({ length }, readItem);
  }

  #slice(length: number): Buffer | null {
    if (length === -1) return null;
    const start = this.#advance(length);
    return this.#buffer.subarray(start, start + length);
  }

  #advance(length: number): number {
    this.#check(length);
    const start = this.#position;
    this.#position += length;
    return start;
  }

  #check(length: number): void {
    const left = this.#buffer.length - this.#position;
    if (length < 0 || length > left)
      throw new RangeError(`a field of ${length} where ${left} bytes are left`);
  }

  #present<T>(value: T | null): T {
    if (value === null) throw new RangeError(`null before byte ${this.#position} where a value is required`);
    return value;
  }
}

/** Writes one response into a buffer that grows. */
export class Writer {
  #buffer = Buffer.allocUnsafe(256);
  #length = 0;

  readonly int8 = (value: number): this => this.#put(1, (at) => this.#buffer.writeInt8(value, at));
  readonly int16 = (value: number): this => this.#put(2, (at) => this.#buffer.writeInt16BE(value, at));
  readonly int32 = (value: number): this => this.#put(4, (at) => this.#buffer.writeInt32BE(value, at));
  readonly int64 = (value: bigint): this => this.#put(8, (at) => this.#buffer.writeBigInt64BE(value, at));
  readonly boolean = (value: boolean): this => this.int8(value ? 1 : 0);
  /** Bytes as they are, without a length before them. */
  readonly raw = (value: Buffer): this => this.#put(value.length, (at) => value.copy(this.#buffer, at));
  readonly bytes = (value: Buffer): this => this.int32(value.length).raw(value);

  string(value: string | null): this {
    if (value === null) return this.int16(-1);
    const bytes = Buffer.from(value);
    return this.int16(bytes.length).raw(bytes);
  }

  array<T>(items: readonly T[], writeItem: (item: T) => void): this {
    this.int32(items.length);
    for (const item of items) writeItem(item);
    return this;
  }

  /** There is to be no answer. */
  discard(): void {
    this.#length = 0;
  }

  /** The written bytes preceded by their int32 length: one frame for the wire; undefined after `discard`. */
  frame(): Buffer | undefined {
    if (this.#length === 0) return undefined;
    const size = Buffer.allocUnsafe(4);
    size.writeInt32BE(this.#length);
    return Buffer.concat([size, this.#buffer.subarray(0, this.#length)]);
  }

  #put(length: number, write: (at: number) => void): this {
    const at = this.#length;
    this.#length += length;
    if (this.#length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#length, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, at);
      this.#buffer = larger;
    }
    write(at);
    return this;
  }
}
