import { isSuccess, type PromiseRecord, type PromiseSearchReq, type Send } from "@resonatehq/sdk";
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
export const groupOf = ({ tags }: PromiseRecord): string | undefined => {
  const group = /^poll:\/\/any@([^/]+)/.exec(tags["resonate:target"] ?? "")?.[1];
  return group === undefined ? undefined : decodeURIComponent(group);
};

/** Executions that wait for other workers than those of a service as it is now, and what such a worker must have. */
export interface Elsewhere {
  readonly needs: { readonly group: string } | { readonly version: number };
  readonly count: number;
}

/**
 * Which of a service's executions wait for other workers: in another worker group, after RESONATE_GROUP was changed, or
 * for another version of the workflow.
 */
export const findElsewhere = (
  executions: readonly PromiseRecord[],
  { group, version }: Pick<Service, "group" | "version">,
): Elsewhere[] => {
  const byGroup = Map.groupBy(executions, groupOf);
  const byVersion = Map.groupBy(byGroup.get(group) ?? [], ({ param }) => decodeCall(param).version);
  return [
    ...[...byGroup].flatMap(([other, { length }]) =>
      other === undefined || other === group ? [] : [{ needs: { group: other }, count: length }],
    ),
    ...[...byVersion].flatMap(([other, { length }]) =>
      other === version ? [] : [{ needs: { version: other }, count: length }],
    ),
  ];
};

/** What to search for at the server to find the executions of a service that have not ended. */
export const searchPending = (name: string, cursor?: string): PromiseSearchReq => ({
  kind: "promise.search",
  head: requestHead(),
  data: {
    state: "pending",
    tags: { [SERVICE_TAG]: name },
    limit: 1000,
    ...(cursor === undefined ? {} : { cursor }),
  },
});

/** Says which of this service's executions wait for other workers than this one. Reads at most the first thousand. */
export const reportElsewhere = async (send: Send, service: Service, log: Log): Promise<void> => {
  const found = await send(searchPending(service.name));
  if (!isSuccess(found)) return;
  const { promises, cursor } = found.data;
  for (const { needs, count } of findElsewhere(promises, service)) {
    const some = `${cursor === undefined ? "" : "at least "}${count} executions of ${service.name}`;
    if ("group" in needs) {
      log.warn(
        `${some} wait in worker group ${needs.group}: start a worker with RESONATE_GROUP=${needs.group} to finish them`,
      );
    } else
      log.warn(
        `${some} wait for a worker of version ${needs.version}, this one has version ${service.version}`,
      );
  }
};
