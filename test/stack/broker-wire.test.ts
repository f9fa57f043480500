/** What the embedded broker answers to requests that no client library sends, or whose answers none shows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createBroker } from "../../src/stack/broker/broker.ts";
import { errors } from "../../src/stack/broker/errors.ts";
import { startEmbedded } from "./broker-client.ts";
import {
  commitRaw,
  connectRaw,
  fetchRaw,
  heartbeatRaw,
  joinRaw,
  produceRaw,
  sampleBatch,
  touchTopic,
} from "./broker-wire.ts";
import { afterwards, eventually } from "./contract.ts";

test("a wildcard listener is advertised as localhost; topics need not come into being", async (t) => {
  const broker = createBroker({ autoCreateTopics: false });
  afterwards(t, () => broker.stop());
  const { host, port } = await broker.listen({ port: 0, host: "0.0.0.0" });
  assert.equal(host, "localhost");
  const answer = await touchTopic(await connectRaw(t, port), "unknown");
  assert.equal(answer.int32(), 1);
  assert.deepEqual([answer.int32(), answer.string(), answer.int32()], [1, "localhost", port]);
  answer.nullableString();
  answer.int32();
  const [topic] = answer.array(() => answer.int16());
  assert.equal(topic, errors.unknownTopicOrPartition);
});

test("an ApiVersions request of tomorrow gets error 35 and the table in a v0 answer", async (t) => {
  const { port } = await startEmbedded(t);
  const raw = await connectRaw(t, port);
  const answer = await raw.request(18, 3, (body) => body.int8(0).int8(5));
  assert.equal(answer.int16(), errors.unsupportedVersion);
  const table = answer.array(() => [answer.int16(), answer.int16(), answer.int16()]);
  assert.deepEqual(
    table.find(([key]) => key === 0),
    [0, 3, 7],
  );
  assert.throws(() => answer.int8()); // and no throttle time, which v0 has not
  assert.equal((await raw.request(18, 0, () => {})).int16(), errors.none);
});

test("record sets that are no sound batch are refused and leave the log alone", async (t) => {
  const { port } = await startEmbedded(t);
  const raw = await connectRaw(t, port);
  await touchTopic(raw, "t");
  const spoilt = (at: number, value: number) => {
    const batch = Buffer.from(sampleBatch);
    batch[at] = value;
    return batch;
  };
  const refused = [
    { error: errors.corruptMessage, batch: Buffer.alloc(0) },
    { error: errors.corruptMessage, batch: sampleBatch.subarray(0, 40) },
    { error: errors.corruptMessage, batch: spoilt(11, 0xff) }, // length
    { error: errors.corruptMessage, batch: spoilt(8, 0x80) }, // negative length
    { error: errors.corruptMessage, batch: spoilt(sampleBatch.length - 2, 0x62) }, // not what the checksum says
    { error: errors.invalidRecord, batch: spoilt(16, 1) }, // magic
    { error: errors.invalidRecord, batch: Buffer.concat([sampleBatch, sampleBatch]) },
    { error: errors.messageTooLarge, batch: Buffer.alloc(1_048_589) },
  ];
  for (const { error, batch } of refused) assert.equal((await produceRaw(raw, "t", batch))?.error, error);
  assert.deepEqual(await produceRaw(raw, "t", sampleBatch), { index: 0, error: 0, offset: 0n });
  assert.deepEqual(await produceRaw(raw, "t", sampleBatch), { index: 0, error: 0, offset: 1n });
});

test("a fetch waits for data, no longer than it asked for, and tells of offsets out of range", async (t) => {
  const { port } = await startEmbedded(t);
  const [reading, writing] = [await connectRaw(t, port), await connectRaw(t, port)];
  await touchTopic(writing, "t");

  const waiting = fetchRaw(reading, "t", 0n, 60_000);
  const behind = reading.request(18, 0, () => {}); // answered after the fetch, which the wire helper checks
  await produceRaw(writing, "t", sampleBatch);
  const { error, endOffset, records } = await waiting;
  await behind;
  assert.deepEqual([error, endOffset], [0, 1n]);
  assert.deepEqual(records.subarray(17), sampleBatch.subarray(17));

  const started = performance.now();
  assert.equal((await fetchRaw(reading, "t", 1n, 50)).records.length, 0);
  assert.ok(performance.now() - started >= 49);
  await produceRaw(writing, "t", sampleBatch);
  assert.equal((await fetchRaw(reading, "t", 0n, 0, 1)).records.length, sampleBatch.length);
  assert.equal((await fetchRaw(reading, "t", 0n, 0)).records.length, 2 * sampleBatch.length);
  assert.equal((await fetchRaw(reading, "t", 3n, 60_000)).error, errors.offsetOutOfRange);
  assert.equal((await fetchRaw(reading, "nope", 0n, 60_000)).error, errors.unknownTopicOrPartition);
});

test("the group coordinator tells members what is wrong", async (t) => {
  const { port } = await startEmbedded(t);
  const [one, two] = [await connectRaw(t, port), await connectRaw(t, port)];
  await touchTopic(one, "t");
  const named = await joinRaw(one, "g", "");
  assert.equal(named.error, errors.memberIdRequired);
  assert.equal((await joinRaw(one, "g", "somebody")).error, errors.unknownMemberId);
  const leader = await joinRaw(one, "g", named.memberId);
  assert.deepEqual([leader.error, leader.leader, leader.generation], [0, named.memberId, 1]);
  assert.deepEqual(leader.members, [[named.memberId, Buffer.from("range")]]);

  assert.equal(await heartbeatRaw(one, "g", 1, "somebody"), errors.unknownMemberId);
  assert.equal(await heartbeatRaw(one, "g", 7, leader.memberId), errors.illegalGeneration);
  assert.equal(await heartbeatRaw(one, "g", 1, leader.memberId), errors.none);
  assert.equal((await joinRaw(two, "g", "", "other")).error, errors.inconsistentGroupProtocol);

  const byMember = await commitRaw(one, "g", 1, leader.memberId, "t", 5n);
  const outdated = await commitRaw(one, "g", 0, leader.memberId, "t", 6n);
  const byOutsider = await commitRaw(one, "g", -1, "", "t", 7n);
  assert.deepEqual([byMember, outdated, byOutsider], [27, 22, 25]); // 27: nothing is assigned yet
  assert.equal(await commitRaw(one, "empty", -1, "", "t", 8n), errors.none);
  assert.equal(await commitRaw(one, "empty", -1, "", "unknown", 8n), errors.unknownTopicOrPartition);
  assert.equal(await commitRaw(one, "empty", 3, "gone", "t", 8n), errors.unknownMemberId);

  const newcomer = joinRaw(two, "g", (await joinRaw(two, "g", "")).memberId);
  await eventually("a rebalance", async () => {
    return (await heartbeatRaw(one, "g", 1, leader.memberId)) === errors.rebalanceInProgress;
  });
  const [again, joined] = await Promise.all([joinRaw(one, "g", leader.memberId), newcomer]);
  assert.deepEqual([again.generation, again.members.length], [2, 2]);
  assert.deepEqual([joined.generation, joined.members.length, joined.leader], [2, 0, leader.memberId]);
});
