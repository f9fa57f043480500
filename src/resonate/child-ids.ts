/** An id below another one, as @resonatehq/sdk 0.11.5 makes it (ids.js): `root`, `root:1`, `root:1.2`. */
const below = (id: string, segment: string): string => `${id}${id.includes(":") ? "." : ":"}${segment}`;

/** The promise id of the `position`-th checkpoint (from 0) of an execution. */
export const checkpointId = (executionId: string, position: number): string =>
  below(executionId, String(position));

/** cyrb53, a hash of 53 bits, as in util.js of @resonatehq/sdk 0.11.5, which does not export it. */
const hash = (text: string): number => {
  let [high, low] = [0xdeadbeef, 0x41c6ce57];
  for (const byte of Buffer.from(text, "utf8")) {
    high = Math.imul(high ^ byte, 2654435761);
    low = Math.imul(low ^ byte, 1597334677);
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507);
  high ^= Math.imul(low ^ (low >>> 13), 3266489909);
  low = Math.imul(low ^ (low >>> 16), 2246822507);
  low ^= Math.imul(high ^ (high >>> 13), 3266489909);
  return 4294967296 * (2097151 & low) + (high >>> 0);
};

/** The id of the execution in which another one goes on, when it does so in place of its `position`-th checkpoint. */
export const continuationId = (executionId: string, position: number): string => {
  const origin = executionId.split(":", 1)[0] ?? executionId;
  return below(origin, `d${hash(checkpointId(executionId, position)).toString(16).padStart(14, "0")}`);
};
