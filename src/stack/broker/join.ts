import type { ErrorCode } from "./errors.ts";

/** A way to assign partitions that a member knows, with its subscription encoded for it. */
export interface Protocol {
  readonly name: string;
  readonly metadata: Buffer;
}

export interface JoinRequest {
  /** Empty for a member that is new. */
  readonly memberId: string;
  readonly clientId: string;
  readonly clientHost: string;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly protocolType: string;
  readonly protocols: readonly Protocol[];
  /** JoinGroup v4 and later: a new member is told its id and asks again, so that a lost answer leaves no ghost. */
  readonly idRequired: boolean;
}

export interface JoinAnswer {
  readonly error: ErrorCode;
  readonly memberId: string;
  readonly generation: number;
  readonly protocol: string;
  readonly leader: string;
  /** For the leader, who assigns; empty for the others. */
  readonly members: readonly { id: string; metadata: Buffer }[];
}

export interface SyncAnswer {
  readonly error: ErrorCode;
  readonly assignment: Buffer;
}

export const noAssignment = Buffer.alloc(0);

export const refuseJoin = (error: ErrorCode, memberId = ""): JoinAnswer => {
  return {
    error,
    memberId,
    generation: -1,
    protocol: "",
    leader: "",
    members: [],
  };
};

export const refuseSync = (error: ErrorCode): SyncAnswer => ({
  error,
  assignment: noAssignment,
});

export const metadataOf = (request: JoinRequest, protocol: string): Buffer =>
  request.protocols.find(({ name }) => name === protocol)?.metadata ?? noAssignment;

export const commonProtocols = ([first, ...others]: readonly JoinRequest[]): string[] =>
  (first?.protocols ?? [])
    .map(({ name }) => name)
    .filter((name) => others.every(({ protocols }) => protocols.some((protocol) => protocol.name === name)));

export const sameProtocols = (a: readonly Protocol[], b: readonly Protocol[]): boolean =>
  a.length === b.length &&
  a.every(({ name, metadata }, i) => b[i]?.name === name && b[i].metadata.equals(metadata));
