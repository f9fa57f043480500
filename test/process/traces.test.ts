import assert from "node:assert/strict";
import { hash, randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import { setScene } from "../helpers/deletion-scene.ts";
import { isStep, killAt } from "../helpers/protocol.ts";
import { until } from "../helpers/scene.ts";

/** A line of test/fixtures/tracing.ts. */
interface Span {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parent: string;
  readonly attributes: Readonly<Record<string, unknown>>;
}

const SDK = new URL("../fixtures/tracing.ts", import.meta.url).href;
const GIVEN = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" };

suite("traces", { concurrency: 3, timeout: 120_000 }, () => {
  for (const given of [GIVEN, undefined]) {
    const which = given ? "the trace of its message" : "one trace of its own";
    test(`what a killed worker did of a record and what its survivor does is in ${which}`, async (t) => {
      // A lease that ends while no worker is there goes to one only later.
      const scene = await setScene(t, { LEASE_TTL_MS: "5000" });
      const spansOf = (file: string): Span[] =>
        existsSync(file)
          ? readFileSync(file, "utf8")
              .trimEnd()
              .split("\n")
              .map((line) => JSON.parse(line))
          : [];
      const [first, second] = ["first", "second"].map((name) => join(scene.folder, name)) as [string, string];
      const traced = (file: string) => ({ NODE_OPTIONS: `--import=${SDK}`, SPANS: file });

      const victim = await scene.startWorker(traced(first));
      const id = `record-${randomUUID()}`;
      const key = (batch: number) => `deletion/${id}/deleteBatch/${batch}`;
      const killed = killAt(scene.proxy, victim, isStep("deleteBatch", "end", key(1)));
      await scene.records.addRows(new Map([[id, 3 * scene.settings.BATCH_SIZE]]));
      const headers = given
        ? { traceparent: `00-${given.traceId}-${given.spanId}-01`, tracestate: "own=1" }
        : {};
      await scene.produce({ key: id, value: JSON.stringify(id), headers });
      await killed;
      await scene.startWorker(traced(second));
      const completion = await until("the completion", () => scene.completionsOf(id)[0]);
      await until("its span", () => spansOf(second).some(({ name }) => name === "enqueueCompletion"));

      const [before, after] = [spansOf(first), spansOf(second)];
      const steps = (spans: Span[]) =>
        spans.map(({ name, attributes }) => attributes["step.idempotency_key"] ?? name);
      // The dispatch is over once the execution has begun, and its steps may end before.
      assert.deepEqual(steps(before).sort(), [key(0), key(1), "dispatch"]);
      assert.deepEqual(
        steps(after),
        [key(1), key(2), `deletion/${id}/enqueueCompletion/0`],
        "each that really ran",
      );

      const digest = hash("sha256", id, "hex");
      const root = given ?? { traceId: digest.slice(0, 32), spanId: digest.slice(32, 48) };
      const dispatch = before.find(({ name }) => name === "dispatch");
      for (const { name, traceId, parent, attributes } of [...before, ...after]) {
        assert.equal(traceId, root.traceId, name);
        assert.equal(parent, name === "dispatch" ? root.spanId : dispatch?.spanId, name);
        assert.equal(attributes["record.id"], id);
      }
      assert.equal(
        String(completion.headers?.traceparent),
        `00-${root.traceId}-${after.at(-1)?.spanId}-01`,
        "whoever reads the completion joins the trace behind the step that published it",
      );
      assert.equal(completion.headers?.tracestate?.toString(), given && "own=1");
    });
  }

  test("without an SDK the completion has its message's trace headers, and none where there were none", async (t) => {
    const scene = await setScene(t);
    await scene.startWorker();
    const traceparent = `00-${GIVEN.traceId}-${GIVEN.spanId}-00`;
    const seed = async (headers: Readonly<Record<string, string>>) => {
      const id = `record-${randomUUID()}`;
      await scene.produce({ key: id, value: JSON.stringify(id), headers });
      const { headers: found } = await until("the completion", () => scene.completionsOf(id)[0]);
      return [found?.traceparent?.toString(), found?.tracestate?.toString()];
    };
    assert.deepEqual(await seed({ traceparent, tracestate: "own=1" }), [traceparent, "own=1"]);
    assert.deepEqual(await seed({ traceparent: "nonsense", tracestate: "own=1" }), [undefined, undefined]);
    assert.deepEqual(await seed({}), [undefined, undefined]);
  });
});
