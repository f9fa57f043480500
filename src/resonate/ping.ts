import type { Secret } from "../support/secret.ts";
import { type Access, findRefusedStatus, requestAlone } from "./access.ts";
import { requestHead } from "./request.ts";

const TIMEOUT_MS = 5000;

/** A heartbeat of nothing: any server answers it, it changes nothing, and it needs a token that is valid. */
const heartbeat = (token: Secret) =>
  JSON.stringify({
    kind: "task.heartbeat",
    head: { ...requestHead(), ...(token.isEmpty ? {} : { auth: token.reveal() }) },
    data: { pid: "ping", tasks: [] },
  });

/**
 * Asks a Resonate server whether it is up and lets this client in.
 *
 * @throws {AccessError} when it refuses the token, or its certificate is not trusted
 * @throws when it cannot be reached
 */
export const ping = async (access: Access): Promise<void> => {
  const { url, token } = access;
  const { statusCode, body } = await requestAlone(access, {
    path: "/",
    method: "POST",
    headers: { "content-type": "application/json" },
    body: heartbeat(token),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  await body.dump();
  const refused = findRefusedStatus(url, statusCode);
  if (refused) throw refused;
  if (statusCode !== 200) throw new Error(`expected status 200 from ${url}, got ${statusCode}`);
};
