import { isSuccess, type PromiseRecord, type Send } from "@resonatehq/sdk";
import { decodeCall } from "../resonate/call.ts";
import { isRefusal } from "../resonate/refusals.ts";
import { INTERNAL_ID, requestHead } from "../resonate/request.ts";
import type { Log } from "../support/log.ts";
import { SettingsError } from "../support/settings.ts";

/** Tag of the first execution of a message: which service it belongs to. */
export const SERVICE_TAG = "service";

/** A service at a Resonate server: one job on one topic. */
export interface Service {
  /** The name under which its executions are registered. */
  readonly name: string;
  /** Its worker group. */
  readonly group: string;
  /** The version of its workflow. */
  readonly version: number;
}

/** The server does not take what this version of the SDK sends. A retry cannot help. */
class UnfitServerError extends Error {
  readonly code = "UNFIT_SERVER";
  readonly canRetry = false;
  override name = "UnfitServerError";
}

/** So many years from now, in milliseconds: a claim does not end. */
const CLAIM_LIFE_MS = 100 * 365 * 24 * 3_600_000;

const claimId = (group: string) => `${INTERNAL_ID}groups:${group}`;
const encode = (value: unknown) => Buffer.from(JSON.stringify(value), "utf8").toString("base64");

/**
 * Claims the worker group for this service, once and for all its workers: whoever comes with another service is told.
 * The workers of a group run each other's executions, so two services must not share one.
 *
 * The id of the claim is formed like that of a step, which tells a server that is newer than the SDK: from there on it
 * would refuse every step of every execution.
 *
 * @throws {SettingsError} when another service has the group
 * @throws {UnfitServerError} when the server refuses such an id
 */
export const claimGroup = async (
  send: Send,
  { name, group }: Pick<Service, "name" | "group">,
): Promise<void> => {
  const id = claimId(group);
  const origin = `${INTERNAL_ID}groups`;
  const response = await send({
    kind: "promise.create",
    head: requestHead(),
    data: {
      id,
      timeoutAt: Date.now() + CLAIM_LIFE_MS,
      param: { headers: {}, data: encode({ service: name }) },
      tags: { "resonate:origin": origin, "resonate:branch": origin, "resonate:parent": origin },
    },
  });
  if (isSuccess(response)) {
    const { param } = response.data.promise;
    const claim: unknown = JSON.parse(Buffer.from(String(param.data ?? ""), "base64").toString("utf8"));
    const owner =
      claim !== null && typeof claim === "object" && "service" in claim ? claim.service : undefined;
    if (owner === name) return;
    const advice = "Set RESONATE_GROUP to a name of this service's own";
    throw new SettingsError([
      `RESONATE_GROUP: worker group ${group} belongs to ${owner}, not to ${name}. ${advice}`,
    ]);
  }
  const words = `${response.head.status}: ${response.data}`;
  if (!isRefusal(response.head.status)) throw new Error(`the Resonate server answers ${words}`);
  throw new UnfitServerError(
    `the Resonate server does not take the ids that @resonatehq/sdk 0.11.5 makes (${words}). Use server 0.9.8, or a newer SDK`,
  );
};

/** The worker group that an execution is addressed to. */
const groupOf = ({ tags }: PromiseRecord): string | undefined => {
  const group = /^poll:\/\/any@([^/]+)/.exec(tags["resonate:target"] ?? "")?.[1];
  return group === undefined ? undefined : decodeURIComponent(group);
};

/**
 * Says how many executions of this service wait for other workers than this one: in another worker group, after
 * RESONATE_GROUP was changed, or for another version of the workflow. Reads at most the first thousand.
 */
export const reportElsewhere = async (
  send: Send,
  { name, group, version }: Service,
  log: Log,
): Promise<void> => {
  const found = await send({
    kind: "promise.search",
    head: requestHead(),
    data: { state: "pending", tags: { [SERVICE_TAG]: name }, limit: 1000 },
  });
  if (!isSuccess(found)) return;
  const { promises, cursor } = found.data;
  const count = ({ length }: PromiseRecord[]) =>
    `${cursor === undefined ? "" : "at least "}${length} executions of ${name}`;
  const byGroup = Map.groupBy(promises, groupOf);
  for (const [other, own] of byGroup) {
    if (other === undefined || other === group) continue;
    log.warn(
      `${count(own)} wait in worker group ${other}: start a worker with RESONATE_GROUP=${other} to finish them`,
    );
  }
  const byVersion = Map.groupBy(byGroup.get(group) ?? [], ({ param }) => decodeCall(param).version);
  for (const [other, own] of byVersion) {
    if (other === version) continue;
    log.warn(`${count(own)} wait for a worker of version ${other}, this one has version ${version}`);
  }
};
