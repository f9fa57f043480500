import assert from "node:assert/strict";
import { test } from "node:test";
import { type EffectName, idempotencyKey } from "../../src/worker/idempotency-key.ts";
import { checkId } from "../../src/worker/message-id.ts";
import { createRandom, randomBelow } from "../helpers/unit-random.ts";

const effect: EffectName = { job: "orders", messageId: "4711", step: "charge", call: 0 };

test("a key reads as job, message, step and call", () => {
  assert.equal(idempotencyKey(effect), "orders/4711/charge/0");
  assert.equal(
    idempotencyKey({ ...effect, messageId: "a b/c", call: 12 }),
    "orders/a%20b%2Fc/charge/12",
    "what may not stand in a header is encoded",
  );
});

test("a key that would be too long is its hash, which looks like no other key, whatever makes it long", () => {
  const long = "記".repeat(85);
  for (const own of [{ messageId: long }, { job: long }, { step: long }]) {
    const key = idempotencyKey({ ...effect, ...own });
    assert.match(key, /^=[\w-]{43}$/);
    assert.notEqual(idempotencyKey({ ...effect, ...own, call: 1 }), key);
    assert.doesNotMatch(idempotencyKey({ ...effect, job: key }), /^=/, "no other key begins like it");
  }
});

test("the number of characters alone decides, so the key of an effect never changes", () => {
  const longest = 255 - "orders//charge/0".length;
  assert.equal(idempotencyKey({ ...effect, messageId: "x".repeat(longest) }).length, 255);
  assert.match(idempotencyKey({ ...effect, messageId: "x".repeat(longest + 1) }), /^=/);
});

/** Pieces that an encoding or a separator might confuse. */
const pieces = [
  ..."/%=?#&+ ~!*'()._-\\\"<>[]{}|^`@,;$",
  ...[
    "%2F",
    "%25",
    "%3D",
    "%",
    "2F",
    "//",
    "..",
    "é",
    "e\u0301",
    "記",
    "🙂",
    "\u00a0",
    "\u200b",
    "\ufeff",
    "\u202e",
  ],
  ...["a", "A", "0", "1", "charge", "/charge/0", "ship", "orders", "__proto__", "null", "x".repeat(100)],
];

const randomId = (random: () => number): string => {
  const pick = () => pieces[randomBelow(random, pieces.length)] ?? "";
  const id = Array.from({ length: 1 + randomBelow(random, random() < 0.2 ? 60 : 4) }, pick).join("");
  return id.slice(0, 255).toWellFormed();
};

test("20,000 nasty effects: printable ASCII without spaces, at most 255 characters, no two with one key", () => {
  const random = createRandom(9);
  const effects = new Map<string, string>();
  let hashed = 0;
  for (let round = 0; round < 20_000; round++) {
    const named: EffectName = {
      job: random() < 0.5 ? "orders" : "deletion",
      messageId: randomId(random),
      step: ["charge", "ship", "charge0", "a/b", "é", "$", "enqueueDeadLetter"][randomBelow(random, 7)] ?? "",
      call: randomBelow(random, 3) * randomBelow(random, 1000),
    };
    assert.equal(checkId(named.messageId), undefined, "the generator makes ids that a message may have");
    const key = idempotencyKey(named);
    assert.match(key, /^[\x21-\x7e]{1,255}$/, key);
    assert.equal(idempotencyKey({ ...named }), key, "the same each time");
    const name = JSON.stringify(named);
    assert.equal(effects.get(key) ?? name, name, `two effects have the key ${key}`);
    effects.set(key, name);
    if (key.startsWith("=")) hashed += 1;
  }
  // Had the generator gone wrong, this test would prove nothing.
  assert.ok(effects.size > 10_000 && hashed > 500, `${effects.size} effects, ${hashed} of them hashed`);
});

test("a key goes through an HTTP header as it is", () => {
  const random = createRandom(10);
  for (let round = 0; round < 500; round++) {
    const key = idempotencyKey({ ...effect, messageId: randomId(random) });
    assert.equal(new Headers({ "idempotency-key": key }).get("idempotency-key"), key);
  }
});
