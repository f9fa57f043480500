import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { checkHouse } from "./helpers/unit-house.ts";

const root = join(import.meta.dirname, "..");
const house = new Map(
  readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .map((path) => [`src/${path.replaceAll("\\", "/")}`, readFileSync(join(root, "src", path), "utf8")]),
);

test("the house stands: each folder imports what it may, there is no circle, and workflows only order steps", () => {
  assert.ok(house.size > 50 && house.has("src/jobs/deletion/workflow.ts"));
  assert.deepEqual(checkHouse(house), []);
});

test("no file of ours is over 200 lines, but for the broker's", () => {
  const long = [...house].filter(
    ([path, source]) => !path.startsWith("src/stack/broker/") && source.trimEnd().split("\n").length > 200,
  );
  assert.deepEqual(
    long.map(([path]) => path),
    [],
  );
});

/** A small house in which all is well. */
const sound = new Map([
  [
    "src/bin/start.ts",
    `import { job } from "../jobs/load-job.ts";\nimport "../stack/stack.ts";\nimport "../observe/metrics.ts";`,
  ],
  [
    "src/observe/metrics.ts",
    `import { listen } from "../worker/telemetry.ts";\nimport { retry } from "../support/retry.ts";`,
  ],
  ["src/worker/telemetry.ts", `import { channel } from "node:diagnostics_channel";`],
  ["src/jobs/load-job.ts", `import type { Job } from "../worker/job.ts";\nconst job = import(file.href);`],
  [
    "src/jobs/a/job.ts",
    `import type { Job } from "../../worker/job.ts";\nimport { go } from "./workflow.ts";`,
  ],
  [
    "src/jobs/a/workflow.ts",
    `import type { Job } from "../../worker/job.ts";\nimport type { Steps } from "./steps.ts";\nimport { end } from "./end.ts";`,
  ],
  ["src/jobs/a/end.ts", `export const end = "import { x } from 'nowhere'";`],
  [
    "src/jobs/a/steps.ts",
    `import { readFile } from "node:fs";\nimport { retry } from "../../support/retry.ts";`,
  ],
  ["src/jobs/a/crash-test.ts", `import { scenario } from "../../crash-test/scenario.ts";`],
  ["src/crash-test/scenario.ts", `import type { Job } from "../worker/job.ts";`],
  ["src/worker/job.ts", `import type { IHeaders } from "kafkajs";`],
  [
    "src/worker/step.ts",
    `import { retry } from "../support/retry.ts";\nimport { client } from "../kafka/client.ts";`,
  ],
  ["src/kafka/client.ts", `import { Kafka } from "kafkajs";`],
  ["src/resonate/leases.ts", `import {\n  AsyncHeartbeat,\n  type Logger,\n} from "@resonatehq/sdk";`],
  ["src/support/retry.ts", `import { setTimeout } from "node:timers/promises";`],
  ["src/stack/stack.ts", `import { retry } from "../support/retry.ts";`],
  ["src/timeline/lane.ts", `import { retry } from "../support/retry.ts";`],
  [
    "src/demo/demo.ts",
    `import { stack } from "../stack/stack.ts";\nimport "../timeline/lane.ts";\nexport * from "../worker/step.ts";`,
  ],
]);

test("a sound house is found sound", () => {
  assert.deepEqual(checkHouse(sound), []);
});

/** What breaks a rule: a line added to a file, and the fault that must be told. */
const broken: readonly [path: string, line: string, fault: RegExp][] = [
  [
    "src/support/retry.ts",
    `import { x } from "../kafka/client.ts";`,
    /^src\/support\/retry.ts imports src\/kafka/,
  ],
  [
    "src/support/retry.ts",
    `import type { X } from "../worker/job.ts";`,
    /support may import nothing of ours/,
  ],
  ["src/kafka/client.ts", `import { x } from "../resonate/leases.ts";`, /kafka may import support$/],
  ["src/kafka/client.ts", `import { x } from "../worker/job.ts";`, /kafka may import support$/],
  ["src/resonate/leases.ts", `export { x } from "../kafka/client.ts";`, /resonate may import support$/],
  [
    "src/worker/step.ts",
    `import { x } from "../jobs/load-job.ts";`,
    /worker may import kafka, resonate, support$/,
  ],
  ["src/worker/step.ts", `import type { X } from "../jobs/a/steps.ts";`, /worker may import/],
  ["src/worker/step.ts", `import { x } from "../stack/stack.ts";`, /worker may import/],
  ["src/worker/step.ts", `await import("../demo/demo.ts");`, /worker may import/],
  ["src/worker/step.ts", `import { x } from "../crash-test/scenario.ts";`, /worker may import/],
  ["src/worker/step.ts", `import "../bin/start.ts";`, /worker may import/],
  ["src/worker/step.ts", `import { x } from "../observe/metrics.ts";`, /worker may import/],
  [
    "src/observe/metrics.ts",
    `import { x } from "../worker/step.ts";`,
    /observe may import worker\/telemetry.ts, support$/,
  ],
  [
    "src/jobs/a/steps.ts",
    `import { x } from "../../worker/step.ts";`,
    /jobs may import worker\/job.ts, support$/,
  ],
  ["src/jobs/a/steps.ts", `import { x } from "../../kafka/client.ts";`, /jobs may import/],
  ["src/jobs/a/steps.ts", `import { x } from "../../crash-test/scenario.ts";`, /jobs may import/],
  ["src/jobs/a/steps.ts", `import { x } from "../b/steps.ts";`, /jobs may import/],
  ["src/jobs/a/steps.ts", `import { x } from "../load-job.ts";`, /jobs may import/],
  ["src/stack/stack.ts", `import { x } from "../demo/demo.ts";`, /stack may import support$/],
  ["src/timeline/lane.ts", `import { x } from "../worker/step.ts";`, /timeline may import support$/],
  ["src/worker/step.ts", `import { x } from "../timeline/lane.ts";`, /worker may import/],
  ["src/demo/demo.ts", `import "../bin/start.ts";`, /demo may import/],
  ["src/support/retry.ts", `import { x } from "../../test/helpers/x.ts";`, /not part of src$/],
  ["src/support/retry.ts", `import { x } from "./missing.ts";`, /no such file$/],
  [
    "src/kafka/client.ts",
    `import { x } from "./client.ts";`,
    /^circle: src\/kafka\/client.ts → src\/kafka\/client.ts$/,
  ],
  [
    "src/jobs/a/workflow.ts",
    `import { x } from "node:crypto";`,
    /^src\/jobs\/a\/workflow.ts loads the built-in node:crypto/,
  ],
  ["src/jobs/a/workflow.ts", `import x from "fs";`, /loads the built-in fs/],
  ["src/jobs/a/workflow.ts", `import { Kafka } from "kafkajs";`, /loads the package kafkajs/],
  ["src/jobs/a/workflow.ts", `import { x } from "./steps.ts";`, /workflow.ts loads the built-in node:fs/],
  [
    "src/jobs/a/end.ts",
    `import { x } from "@resonatehq/sdk";`,
    /workflow.ts loads the package @resonatehq\/sdk/,
  ],
  ["src/errors.ts", "", /^src\/errors.ts: stands in no folder of the house$/],
  ["src/other/x.ts", "", /^src\/other\/x.ts: stands in no folder of the house$/],
  ["src/jobs/registry.ts", "", /^src\/jobs\/registry.ts: beside jobs there is load-job.ts alone$/],
];
for (const [path, line, fault] of broken.filter(([, , own]) => own.source !== "^$")) {
  test(`a house with ${line || "nothing"} in ${path} is found broken`, () => {
    const faults = checkHouse(new Map([...sound, [path, `${sound.get(path) ?? ""}\n${line}`]]));
    assert.ok(
      faults.some((own) => fault.test(own)),
      `expected ${fault}, got ${faults.join("\n") || "no fault"}`,
    );
  });
}

test("a circle is told with the way it takes, also one of types", () => {
  const circle = new Map([
    ...sound,
    ["src/worker/a.ts", `import type { B } from "./b.ts";`],
    ["src/worker/b.ts", `import { c } from "./c.ts";`],
    ["src/worker/c.ts", `import { type A } from "./a.ts";`],
  ]);
  assert.deepEqual(checkHouse(circle), [
    "circle: src/worker/a.ts → src/worker/b.ts → src/worker/c.ts → src/worker/a.ts",
  ]);
});
