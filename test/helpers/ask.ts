import type { Request } from "@resonatehq/sdk";
import { openPostgres } from "../../src/resonate/transports/postgres.ts";
import { isPostgres } from "../../src/support/postgres.ts";
import type { Env } from "./scene.ts";
import { accessTo, silent } from "./unit-resonate.ts";

/** Sends a request as another program would; gives back the status of the answer. */
export const ask = async ({ env }: { env: Env }, request: Request): Promise<number> => {
  const url = env.RESONATE_URL ?? "";
  if (!isPostgres(url)) {
    const headers = { "content-type": "application/json" };
    return (await fetch(url, { method: "POST", headers, body: JSON.stringify(request) })).status;
  }
  await using transport = openPostgres({
    access: accessTo(url),
    group: "others",
    pid: "other",
    logger: silent,
  });
  const { head } = await transport.send(request);
  return head.status;
};
