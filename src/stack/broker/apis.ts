import { Reader, Writer } from "./codec.ts";
import { errors } from "./errors.ts";
import * as group from "./group-apis.ts";
import * as record from "./record-apis.ts";
import { type BrokerState, type Handler, noThrottle } from "./request.ts";
import * as topic from "./topic-apis.ts";

interface Api {
  readonly key: number;
  readonly min: number;
  readonly max: number;
  readonly handle: Handler;
}

const apiVersionsKey = 18;

/** ApiVersions 0–2. A client that asks in a newer version gets a v0 answer with error 35, and the table all the same. */
const apiVersions: Handler = async ({ version }, answer) => {
  const known = version >= 0 && version <= 2;
  answer.int16(known ? errors.none : errors.unsupportedVersion);
  answer.array(apis, ({ key, min, max }) => answer.int16(key).int16(min).int16(max));
  if (known && version >= 1) answer.int32(noThrottle);
};

/**
 * What the broker speaks (https://kafka.apache.org/protocol#protocol_api_keys): from the oldest version clients of
 * today still use to the newest before the "flexible" encoding or a feature the broker lacks.
 */
const apis: readonly Api[] = [
  { key: 0, min: 3, max: 7, handle: record.produce },
  { key: 1, min: 4, max: 11, handle: record.fetch },
  { key: 2, min: 1, max: 3, handle: topic.listOffsets },
  { key: 3, min: 1, max: 6, handle: topic.metadata },
  { key: 8, min: 2, max: 5, handle: group.offsetCommit },
  { key: 9, min: 1, max: 4, handle: group.offsetFetch },
  { key: 10, min: 0, max: 2, handle: group.findCoordinator },
  { key: 11, min: 2, max: 4, handle: group.joinGroup },
  { key: 12, min: 0, max: 2, handle: group.heartbeat },
  { key: 13, min: 0, max: 2, handle: group.leaveGroup },
  { key: 14, min: 0, max: 2, handle: group.syncGroup },
  { key: 15, min: 0, max: 2, handle: group.describeGroups },
  { key: 16, min: 0, max: 2, handle: group.listGroups },
  { key: apiVersionsKey, min: 0, max: 2, handle: apiVersions },
  { key: 19, min: 2, max: 3, handle: topic.createTopics },
  { key: 20, min: 1, max: 1, handle: topic.deleteTopics },
  { key: 22, min: 0, max: 1, handle: record.initProducerId },
  { key: 37, min: 0, max: 1, handle: topic.createPartitions },
  { key: 42, min: 0, max: 1, handle: group.deleteGroups },
];

const apisByKey = new Map(apis.map((api) => [api.key, api]));

/**
 * Answers one request, given without its length prefix.
 *
 * @returns the response with its length prefix, undefined if the client expects none
 * @throws on an API or version that is not spoken here, and on a request that ends too early
 */
export const answerRequest = async (
  frame: Buffer,
  connection: { state: BrokerState; clientHost: string; closed: AbortSignal },
): Promise<Buffer | undefined> => {
  const body = new Reader(frame);
  const key = body.int16();
  const version = body.int16();
  const answer = new Writer().int32(body.int32()); // correlation id
  const clientId = body.nullableString() ?? "";
  const api = apisByKey.get(key);
  if (api === undefined) throw new RangeError(`unknown api ${key}`);
  if (key !== apiVersionsKey && (version < api.min || version > api.max)) {
    throw new RangeError(`api ${key} in version ${version}, expected ${api.min} to ${api.max}`);
  }
  await api.handle({ ...connection, version, clientId, body }, answer);
  return answer.frame();
};
