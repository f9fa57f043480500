import { isSuccess, type Network, type PromiseSearchReq, type PromiseSearchRes } from "@resonatehq/sdk";

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1000;

/**
 * Answers `promise.search` as the real server does, which LocalNetwork (@resonatehq/sdk 0.11.5) does not: by state and
 * tags, in the order of ids, at most `limit` from behind `cursor`, with the last id as the next cursor.
 */
export const search = async (
  network: Pick<Network, "send">,
  { kind, head, data }: PromiseSearchReq,
): Promise<PromiseSearchRes> => {
  const { state, tags = {}, limit = DEFAULT_LIMIT, cursor } = data;
  if (limit < 1 || limit > MAX_LIMIT) {
    const words = `Invalid 'limit' — must be between 1 and ${MAX_LIMIT}`;
    return { kind, head: { ...head, status: 400 }, data: words };
  }
  const snapshot = await network.send({ kind: "debug.snap", head, data: {} });
  if (!isSuccess(snapshot)) return { kind, head: { ...head, status: 500 }, data: "no snapshot" };
  const found = snapshot.data.promises
    .filter((promise) => state === undefined || promise.state === state)
    .filter((promise) => Object.entries(tags).every(([name, value]) => promise.tags[name] === value))
    .filter(({ id }) => cursor === undefined || id > cursor)
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const promises = found.slice(0, limit);
  const last = found.length > limit ? promises.at(-1)?.id : undefined;
  const own = { kind, head: { ...head, status: 200 as const } };
  return { ...own, data: last === undefined ? { promises } : { promises, cursor: last } };
};
