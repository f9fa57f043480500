import type { PromiseSearchReq } from "@resonatehq/sdk";
import type { Query } from "./database.ts";

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1000;

const SEARCH = {
  name: "search",
  text: `
SELECT jsonb_strip_nulls(resonate._promise_json(promises, now)) AS promise
FROM resonate.promises, (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now) AS clock
WHERE ($1::text IS NULL OR state = $1) AND tags @> $2::jsonb AND ($3::text IS NULL OR id COLLATE "C" > $3)
ORDER BY id COLLATE "C" LIMIT $4`,
};

/**
 * Answers `promise.search` as a server does, which the schema does not: by state and tags, in the order of ids, at most
 * `limit` from behind `cursor`, with the last id as the next cursor.
 */
export const search = async (query: Query, { kind, head, data }: PromiseSearchReq): Promise<unknown> => {
  const { state = null, tags = {}, limit = DEFAULT_LIMIT, cursor = null } = data;
  if (limit < 1 || limit > MAX_LIMIT)
    return {
      kind,
      head: { ...head, status: 400 },
      data: `expected a limit from 1 to ${MAX_LIMIT}, got ${limit}`,
    };
  const values = [state, JSON.stringify(tags), cursor, limit + 1];
  const found = await query<{ promise: { id: string } }>(SEARCH, values);
  const promises = found.slice(0, limit).map(({ promise }) => promise);
  const last = found.length > limit ? promises.at(-1)?.id : undefined;
  return {
    kind,
    head: { ...head, status: 200 },
    data: { promises, ...(last !== undefined && { cursor: last }) },
  };
};
