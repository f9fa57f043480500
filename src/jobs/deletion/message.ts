import { readJson, readText } from "../../support/read-json.ts";
import type { Reading, SourceMessage } from "../../worker/job.ts";

/** What the workflow is started with. It stays so for the record's whole life. */
export type Deletion = {
  readonly recordId: string;
  /** Shapes the order of the steps, so a new setting holds for new executions only. */
  readonly batchesPerSegment: number;
};

const findId = (json: unknown): unknown => {
  if (Array.isArray(json)) return json[0];
  return json !== null && typeof json === "object" && "recordId" in json ? json.recordId : json;
};

/**
 * Reads a record id: a JSON string, a JSON array whose first element is one, a JSON object `{"recordId": "…"}`, or
 * bare text. What begins with `"`, `[` or `{` is taken as JSON. Never throws.
 */
export const readMessage = (
  { value }: Pick<SourceMessage, "value">,
  { BATCHES_PER_SEGMENT: batchesPerSegment }: { readonly BATCHES_PER_SEGMENT: number },
): Reading<Deletion> => {
  const deletion = (recordId: string) =>
    ({ ok: true, id: recordId, input: { recordId, batchesPerSegment } }) as const;
  const bare = readText(value);
  if (!bare.ok) return bare;
  if (!/^["[{]/.test(bare.text)) return deletion(bare.text);
  const read = readJson(value);
  if (!read.ok) return read;
  const id = findId(read.json);
  if (typeof id === "string") return deletion(id);
  const detail = `expected a JSON string, an array whose first element is one, or {"recordId": "…"}`;
  return { ok: false, reason: "unexpected-json-shape", detail };
};
