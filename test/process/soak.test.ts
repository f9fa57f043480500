import assert from "node:assert/strict";
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { findExternalStack } from "../../src/demo/external-stack.ts";
import { runSoak, type SoakOptions } from "../../src/demo/soak.ts";
import { readEvents } from "../../src/timeline/read-events.ts";
import { tryNamespaces } from "../helpers/namespaces.ts";

const { KAFKA_BROKERS = "", RESONATE_URL = "" } = process.env;

type Course = Pick<SoakOptions, "records" | "kills" | "seed" | "external" | "namespaces">;

/** A soak with three workers of which all holds; how often each kind of fault fell. */
const assertHolds = async (t: TestContext, course: Course) => {
  const lines: string[] = [];
  await using folder = await mkdtempDisposable(join(tmpdir(), "soak-test-"));
  const eventsFile = join(folder.path, "events");
  const print = (line: string) => void lines.push(line);
  const holds = await runSoak({ ...course, workers: 3, eventsFile, print, signal: t.signal });
  const report = lines.slice(-12).join("\n");
  t.diagnostic(report);
  assert.ok(holds, report);
  const faults = report.slice(report.indexOf("faults: "));
  const count = (what: string) => Number(new RegExp(`(\\d+) ${what}`).exec(faults)?.[1]);
  const kinds = ["SIGKILL", "SIGTERM", "SIGSTOP", "silent hosts"].map(count);
  assert.equal(
    kinds.reduce((sum, n) => sum + n, 0),
    course.kills,
    "every fault fell",
  );
  const { lanes, strikes } = await readEvents([eventsFile]);
  assert.equal(lanes.size, course.records, "every record is in the timeline");
  assert.equal(
    strikes.filter(({ kind }) => kind !== "lost").length,
    course.kills,
    "and every fault of a worker",
  );
  return count;
};

suite("short soaks", { concurrency: 2 }, () => {
  test("120 records, three workers, six of them killed, stopped, frozen or cut off, connections cut", {
    skip: RESONATE_URL !== "" && KAFKA_BROKERS === "" && "needs KAFKA_BROKERS beside RESONATE_URL",
  }, async (t) => {
    const external = findExternalStack(process.env);
    const count = await assertHolds(t, { records: 120, kills: 6, seed: 7, external });
    assert.ok(count("SIGKILL") > 0 && count("cuts") > 0);
  });

  test("60 records, three workers on hosts of their own, two of them killed, links cut", {
    skip: KAFKA_BROKERS !== "" && "what stands on loopback is not reached from other hosts",
  }, async (t) => {
    const opened = await tryNamespaces();
    if (typeof opened === "string") return t.skip(opened);
    await using namespaces = opened;
    const count = await assertHolds(t, { records: 60, kills: 4, seed: 27, namespaces });
    assert.ok(count("SIGKILL") > 0 && count("silent hosts") > 0);
  });
});
