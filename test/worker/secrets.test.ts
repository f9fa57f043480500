import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { inspect } from "node:util";
import { job } from "../../src/jobs/deletion/job.ts";
import { createKafka } from "../../src/kafka/client.ts";
import { AccessError } from "../../src/support/access-error.ts";
import { silentLog } from "../../src/support/log.ts";
import { type Env, SettingsError } from "../../src/support/settings.ts";
import { parseJobSettings } from "../../src/worker/settings.ts";

const SECRET = "hunter2-s3cret";
const PLAIN = { KAFKA_SASL_MECHANISM: "PLAIN", KAFKA_SASL_USERNAME: "worker" };

const makeFile = (t: TestContext, text: string) => {
  const folder = mkdtempSync(join(tmpdir(), "secret-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "secret");
  writeFileSync(path, text);
  return path;
};

const faultOf = (env: Env): string => {
  try {
    parseJobSettings(job, env);
  } catch (error) {
    assert.ok(error instanceof SettingsError);
    return error.message;
  }
  return "none";
};

test("neither settings nor clients show a secret, however they are printed", () => {
  const env = { ...PLAIN, KAFKA_SASL_PASSWORD: SECRET, RESONATE_TOKEN: SECRET, KAFKA_TLS_ENABLED: "true" };
  const settings = parseJobSettings(job, env);
  assert.equal(settings.KAFKA_SASL_PASSWORD.reveal(), SECRET);
  const kafka = createKafka(settings, { clientId: "test", log: silentLog });
  const everything = { depth: 20, showHidden: true };
  const printed = [
    inspect(settings, everything),
    JSON.stringify(settings),
    `${settings.KAFKA_SASL_PASSWORD} ${settings.RESONATE_TOKEN}`,
    inspect([kafka, kafka.producer(), kafka.consumer({ groupId: "g" }), kafka.admin()], everything),
  ];
  for (const text of printed) assert.ok(!text.includes(SECRET), text.slice(0, 500));
});

test("a secret is read from a file, again when it changes, without the line's end", (t) => {
  t.mock.timers.enable({ apis: ["Date"] });
  const path = makeFile(t, `${SECRET}\n`);
  const { KAFKA_SASL_PASSWORD } = parseJobSettings(job, { ...PLAIN, KAFKA_SASL_PASSWORD_FILE: path });
  assert.equal(KAFKA_SASL_PASSWORD.reveal(), SECRET);
  writeFileSync(path, "another one \r\n");
  t.mock.timers.tick(1000);
  assert.equal(KAFKA_SASL_PASSWORD.reveal(), "another one ");
});

test("a file that can no longer be used is told by its setting, without what it holds", (t) => {
  t.mock.timers.enable({ apis: ["Date"] });
  const path = makeFile(t, SECRET);
  const { RESONATE_TOKEN } = parseJobSettings(job, { RESONATE_TOKEN_FILE: path });
  for (const spoil of [() => writeFileSync(path, `${SECRET} ${SECRET}`), () => rmSync(path)]) {
    spoil();
    t.mock.timers.tick(1000);
    assert.throws(
      () => RESONATE_TOKEN.reveal(),
      (error) =>
        error instanceof AccessError &&
        error.message.startsWith("RESONATE_TOKEN_FILE: expected ") &&
        !error.message.includes(SECRET),
    );
  }
});

const ca = { KAFKA_TLS_CAFILEPATH: "/ca.pem" };
const faults: Record<string, { env: Env; expected: RegExp }> = {
  "a secret and a file": {
    env: { RESONATE_TOKEN: SECRET, RESONATE_TOKEN_FILE: "/x" },
    expected: /^RESONATE_TOKEN, RESONATE_TOKEN_FILE: expected one of the two, got both$/,
  },
  "a file that is not there": {
    env: { RESONATE_TOKEN_FILE: "/none" },
    expected: /^RESONATE_TOKEN_FILE: expected a readable file, got ENOENT for \/none$/,
  },
  "a password without a mechanism": {
    env: { KAFKA_SASL_USERNAME: "worker", KAFKA_SASL_PASSWORD: SECRET },
    expected:
      /^KAFKA_SASL_USERNAME: expected a value only with .*\nKAFKA_SASL_PASSWORD: expected a value only with .*$/,
  },
  "a mechanism without a password": {
    env: PLAIN,
    expected: /^KAFKA_SASL_PASSWORD: expected a value with .*, got none$/,
  },
  "a provider that is missing": {
    env: { KAFKA_SASL_MECHANISM: "OAUTHBEARER" },
    expected: /^KAFKA_SASL_OAUTHBEARER_PROVIDER: expected a value with /,
  },
  "an authority without TLS": {
    env: ca,
    expected: /^KAFKA_TLS_CAFILEPATH: expected a value only with KAFKA_TLS_ENABLED=true/,
  },
  "a certificate without its key": {
    env: { KAFKA_TLS_ENABLED: "true", KAFKA_TLS_CERTFILEPATH: "/cert.pem" },
    expected: /^KAFKA_TLS_CERTFILEPATH, KAFKA_TLS_KEYFILEPATH: expected both or none, got one$/,
  },
  "an authority for http": {
    env: { RESONATE_CA_FILEPATH: "/ca.pem" },
    expected: /^RESONATE_CA_FILEPATH: expected a value only with an https:/,
  },
};

for (const [what, { env, expected }] of Object.entries(faults)) {
  test(`${what}: told by name, with no secret`, () => {
    const fault = faultOf(env);
    assert.match(fault, expected);
    assert.ok(!fault.includes(SECRET));
  });
}
