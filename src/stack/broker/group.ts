import { randomUUID } from "node:crypto";
import { type ErrorCode, errors } from "./errors.ts";
import {
  commonProtocols,
  type JoinAnswer,
  type JoinRequest,
  metadataOf,
  noAssignment,
  refuseJoin,
  refuseSync,
  type SyncAnswer,
  sameProtocols,
} from "./join.ts";

/** How long a group waits after its first member, so that workers started together share one rebalance. */
const initialRebalanceDelayMs = 100;
/** Kafka's default `group.max.session.timeout.ms`; its minimum of 6 s is not kept, for the sake of short tests. */
const maxSessionTimeoutMs = 1_800_000;

interface Member {
  readonly id: string;
  request: JoinRequest;
  assignment: Buffer;
  session: NodeJS.Timeout;
  /** Answers the JoinGroup this member waits in. */
  join: ((answer: JoinAnswer) => void) | undefined;
  /** Answers the SyncGroup this member waits in. */
  sync: ((answer: SyncAnswer) => void) | undefined;
}

/**
 * The membership of one consumer group: Kafka's classic rebalance protocol
 * (https://cwiki.apache.org/confluence/display/KAFKA/Kafka+Client-side+Assignment+Proposal).
 * All joined → the leader is handed the members (CompletingRebalance) → it syncs the assignments (Stable) → a
 * member comes, changes, leaves or falls silent → all are to join again (PreparingRebalance).
 */
export class Group {
  #state: "Empty" | "PreparingRebalance" | "CompletingRebalance" | "Stable" = "Empty";
  #generation = 0;
  #protocolType = "";
  #protocol = "";
  #leader = "";
  readonly #members = new Map<string, Member>();
  /** Ids handed out with 79 MEMBER_ID_REQUIRED and not used yet, with the time they lapse. */
  readonly #reservedIds = new Map<string, number>();
  /** Ends PreparingRebalance without the members that have not joined by then. */
  #deadline: NodeJS.Timeout | undefined;
  /** The deadline is the initial delay: it is waited for even if all members have joined. */
  #gathering = false;

  get isEmpty(): boolean {
    return this.#members.size === 0;
  }

  describe() {
    const stable = this.#state === "Stable";
    const members = [...this.#members.values()].map(({ id, request, assignment }) => ({
      id,
      clientId: request.clientId,
      clientHost: request.clientHost,
      metadata: stable ? metadataOf(request, this.#protocol) : noAssignment,
      assignment: stable ? assignment : noAssignment,
    }));
    return {
      state: this.#state,
      protocolType: this.#protocolType,
      protocol: stable ? this.#protocol : "",
      members,
    };
  }

  /**
   * Resolves when the rebalance this starts or takes part in is complete.
   * Errors: 23 INCONSISTENT_GROUP_PROTOCOL, 25 UNKNOWN_MEMBER_ID, 26 INVALID_SESSION_TIMEOUT, 79 MEMBER_ID_REQUIRED.
   */
  async join(request: JoinRequest): Promise<JoinAnswer> {
    const { memberId, sessionTimeoutMs } = request;
    if (sessionTimeoutMs <= 0 || sessionTimeoutMs > maxSessionTimeoutMs) {
      return refuseJoin(errors.invalidSessionTimeout, memberId);
    }
    if (!this.#canAgreeWith(request)) return refuseJoin(errors.inconsistentGroupProtocol, memberId);
    if (memberId === "") {
      const id = `${request.clientId.slice(0, 255)}-${randomUUID()}`;
      if (!request.idRequired) return this.#admit(id, request);
      this.#reserve(id, sessionTimeoutMs);
      return refuseJoin(errors.memberIdRequired, id);
    }
    const member = this.#members.get(memberId);
    if (member === undefined) {
      if (this.#reservedIds.delete(memberId)) return this.#admit(memberId, request);
      return refuseJoin(errors.unknownMemberId, memberId);
    }
    // A member that asks again because it missed the answer needs no new rebalance; the leader may know of new
    // partitions, so when it asks there is one.
    const missedAnswer =
      this.#state === "CompletingRebalance" || (this.#state === "Stable" && memberId !== this.#leader);
    const unchanged = sameProtocols(member.request.protocols, request.protocols);
    this.#startSession(member, request);
    return missedAnswer && unchanged ? this.#joined(member) : this.#awaitJoin(member);
  }

  /**
   * Resolves with the member's assignment once the leader has brought them all.
   * Errors: 22 ILLEGAL_GENERATION, 25 UNKNOWN_MEMBER_ID, 27 REBALANCE_IN_PROGRESS.
   */
  async sync(
    memberId: string,
    generation: number,
    assignments: ReadonlyMap<string, Buffer>,
  ): Promise<SyncAnswer> {
    const error = this.heartbeat(memberId, generation);
    const member = this.#members.get(memberId);
    if (error !== errors.none || member === undefined) return refuseSync(error);
    if (this.#state === "Stable") return { error, assignment: member.assignment };
    member.sync?.(refuseSync(errors.rebalanceInProgress)); // asked twice: the first asker has gone
    const { promise, resolve } = Promise.withResolvers<SyncAnswer>();
    member.sync = resolve;
    if (memberId === this.#leader) this.#stabilize(assignments);
    return promise;
  }

  /** Keeps the member alive. @returns 0, 22 ILLEGAL_GENERATION, 25 UNKNOWN_MEMBER_ID or 27 REBALANCE_IN_PROGRESS */
  heartbeat(memberId: string, generation: number): ErrorCode {
    const member = this.#members.get(memberId);
    if (member === undefined) return errors.unknownMemberId;
    if (generation !== this.#generation) return errors.illegalGeneration;
    member.session.refresh();
    return this.#state === "PreparingRebalance" ? errors.rebalanceInProgress : errors.none;
  }

  /**
   * Whether this member may commit offsets. Until it has joined again it may; a generation below 0 is a client
   * outside the group, which may while the group has no members.
   *
   * @returns 0, 22 ILLEGAL_GENERATION, 25 UNKNOWN_MEMBER_ID or 27 REBALANCE_IN_PROGRESS
   */
  checkCommit(memberId: string, generation: number): ErrorCode {
    if (generation < 0 && this.isEmpty) return errors.none;
    const error = this.heartbeat(memberId, generation);
    if (error === errors.rebalanceInProgress) return errors.none;
    return error === errors.none && this.#state === "CompletingRebalance"
      ? errors.rebalanceInProgress
      : error;
  }

  /** @returns 0 or 25 UNKNOWN_MEMBER_ID */
  leave(memberId: string): ErrorCode {
    if (this.#reservedIds.delete(memberId)) return errors.none;
    const member = this.#members.get(memberId);
    if (member === undefined) return errors.unknownMemberId;
    this.#remove(member);
    return errors.none;
  }

  /** Forgets every member and timer, as when the broker restarts; the generation goes on counting. */
  reset(): void {
    clearTimeout(this.#deadline);
    for (const { session } of this.#members.values()) clearTimeout(session);
    this.#members.clear();
    this.#reservedIds.clear();
    this.#state = "Empty";
  }

  #canAgreeWith(request: JoinRequest): boolean {
    const others = [...this.#members.values()].filter(({ id }) => id !== request.memberId);
    return (
      others.every((other) => other.request.protocolType === request.protocolType) &&
      commonProtocols([request, ...others.map((other) => other.request)]).length > 0
    );
  }

  #reserve(id: string, lifetimeMs: number): void {
    const now = Date.now();
    for (const [reserved, lapses] of this.#reservedIds) if (lapses < now) this.#reservedIds.delete(reserved);
    this.#reservedIds.set(id, now + lifetimeMs);
  }

  #admit(id: string, request: JoinRequest): Promise<JoinAnswer> {
    const session = setTimeout(() => this.#expire(member), request.sessionTimeoutMs);
    const member: Member = {
      id,
      request,
      session,
      assignment: noAssignment,
      join: undefined,
      sync: undefined,
    };
    this.#members.set(id, member);
    this.#protocolType = request.protocolType;
    return this.#awaitJoin(member);
  }

  #startSession(member: Member, request: JoinRequest): void {
    clearTimeout(member.session);
    member.request = request;
    member.session = setTimeout(() => this.#expire(member), request.sessionTimeoutMs);
  }

  #expire(member: Member): void {
    // A member cannot send heartbeats while the broker owes it an answer.
    if (member.join !== undefined || member.sync !== undefined) member.session.refresh();
    else this.#remove(member);
  }

  #remove(member: Member): void {
    clearTimeout(member.session);
    this.#members.delete(member.id);
    member.join?.(refuseJoin(errors.unknownMemberId, member.id));
    member.sync?.(refuseSync(errors.unknownMemberId));
    if (this.#state === "PreparingRebalance") this.#completeIfAllJoined();
    else this.#prepare();
  }

  #awaitJoin(member: Member): Promise<JoinAnswer> {
    member.join?.(refuseJoin(errors.rebalanceInProgress, member.id)); // asked twice: the first asker has gone
    const { promise, resolve } = Promise.withResolvers<JoinAnswer>();
    member.join = resolve;
    if (this.#state === "PreparingRebalance") this.#completeIfAllJoined();
    else this.#prepare();
    return promise;
  }

  #prepare(): void {
    const members = [...this.#members.values()];
    const timeouts = members.map(({ request }) => request.rebalanceTimeoutMs);
    this.#gathering = this.#state === "Empty";
    this.#state = "PreparingRebalance";
    for (const member of members) {
      member.sync?.(refuseSync(errors.rebalanceInProgress));
      member.sync = undefined;
    }
    const delayMs = this.#gathering ? initialRebalanceDelayMs : Math.max(0, ...timeouts);
    this.#deadline = setTimeout(() => this.#complete(), delayMs);
    this.#completeIfAllJoined();
  }

  #completeIfAllJoined(): void {
    const joined = [...this.#members.values()].every(({ join }) => join !== undefined);
    if (joined && !this.#gathering) this.#complete();
  }

  #complete(): void {
    clearTimeout(this.#deadline);
    for (const { id, join, session } of this.#members.values()) {
      if (join !== undefined) continue;
      clearTimeout(session);
      this.#members.delete(id);
    }
    this.#generation++;
    this.#gathering = false;
    const [first] = this.#members.keys();
    if (first === undefined) {
      this.#state = "Empty";
      return;
    }
    if (!this.#members.has(this.#leader)) this.#leader = first;
    // There is one: nobody is admitted who shares none with the others.
    const [protocol = ""] = commonProtocols([...this.#members.values()].map(({ request }) => request));
    this.#protocol = protocol;
    this.#state = "CompletingRebalance";
    for (const member of this.#members.values()) {
      member.join?.(this.#joined(member));
      member.join = undefined;
      member.session.refresh();
    }
  }

  #joined({ id }: Member): JoinAnswer {
    const [generation, protocol, leader] = [this.#generation, this.#protocol, this.#leader];
    const members = id === leader ? [...this.#members.values()] : [];
    const subscriptions = members.map((member) => ({
      id: member.id,
      metadata: metadataOf(member.request, protocol),
    }));
    return {
      error: errors.none,
      memberId: id,
      generation,
      protocol,
      leader,
      members: subscriptions,
    };
  }

  #stabilize(assignments: ReadonlyMap<string, Buffer>): void {
    this.#state = "Stable";
    for (const member of this.#members.values()) {
      member.assignment = assignments.get(member.id) ?? noAssignment;
      member.sync?.({ error: errors.none, assignment: member.assignment });
      member.sync = undefined;
      member.session.refresh();
    }
  }
}
