import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { copyFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, suite, type TestContext, test } from "node:test";
import type { Admin } from "kafkajs";
import { spawnWorker, type WorkerProcess } from "../../src/demo/worker-process.ts";
import { openRecords } from "../../src/jobs/deletion/open-records.ts";
import { createResonateServer } from "../../src/stack/resonate-server.ts";
import { withTimeout } from "../../src/support/retry.ts";
import { createAuthority, joinPem } from "../helpers/certificates.ts";
import {
  type ListenerName,
  PASSWORDS,
  type SecuredKafka,
  startSecuredKafka,
} from "../helpers/secured-kafka.ts";
import { eventually } from "../stack/contract.ts";

// Values of org.apache.kafka.common.acl and resource.
const TOPIC = 2;
const GROUP = 3;
const LITERAL = 3;
const ALLOW = 3;
const READ = 3;
const WRITE = 4;
const BROKER = 4;

const USER = { KAFKA_SASL_USERNAME: "worker", KAFKA_SASL_PASSWORD: PASSWORDS.worker };
const PLAIN = { KAFKA_SASL_MECHANISM: "PLAIN", ...USER };
const NEW_PASSWORD = "s3cret-of-next-month";
const TOKEN_CLAIM = "s3cret-claim";

type Env = Readonly<Record<string, string>>;

/** A topic's and a group's right, as kafkajs writes it. */
const aclOf = (user: string, resourceType: number, resourceName: string, operation: number) => ({
  resourceType,
  resourceName,
  resourcePatternType: LITERAL,
  principal: `User:${user}`,
  host: "*",
  operation,
  permissionType: ALLOW,
});

/** A token that a broker takes which checks no signatures. */
const unsignedToken = () => {
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const iat = Math.floor(Date.now() / 1000);
  return `${encode({ alg: "none" })}.${encode({ sub: "worker", iat, exp: iat + 600, note: TOKEN_CLAIM })}.`;
};

const skip =
  process.env.SECURED_KAFKA === undefined &&
  "runs on a real Apache Kafka: .ci/test-on-kafka, or SECURED_KAFKA=1";

suite("secured", { skip, concurrency: 1, timeout: 240_000 }, () => {
  let secured: SecuredKafka;
  let admin: Admin;
  let resonateUrl: string;
  let unavailable: string | undefined;
  const opened = new AsyncDisposableStack();
  const everyLine: string[][] = [];

  before(async () => {
    const started = await startSecuredKafka();
    if (typeof started === "string") {
      unavailable = started;
      return;
    }
    secured = opened.use(started);
    admin = secured.admin.admin();
    await admin.connect();
    opened.defer(() => admin.disconnect());
    const server = opened.use(createResonateServer());
    const { host, port } = await server.listen({ port: 0 });
    resonateUrl = `http://${host}:${port}`;
  });
  after(async () => {
    await opened.disposeAsync();
    const secrets = [
      ...Object.values(PASSWORDS),
      NEW_PASSWORD,
      TOKEN_CLAIM,
      unsignedToken().split(".")[0] ?? "",
    ];
    for (const secret of secrets)
      assert.ok(!everyLine.flat().join("\n").includes(secret), "a secret in a log");
  });

  /** Topics and a group of a test's own, with the rights that a worker needs, and settings for them. */
  const setScene = async (listener: ListenerName, security: Env, user = "worker") => {
    const run = randomUUID().slice(0, 8);
    const names = {
      TOPIC_SOURCE: `source-${run}`,
      TOPIC_COMPLETIONS: `completions-${run}`,
      TOPIC_DEAD_LETTERS: `dead-${run}`,
      KAFKA_GROUP_ID: `group-${run}`,
    };
    await admin.createTopics({
      topics: [names.TOPIC_SOURCE, names.TOPIC_COMPLETIONS, names.TOPIC_DEAD_LETTERS].map((topic) => ({
        topic,
      })),
      waitForLeaders: false,
    });
    const acls = {
      source: aclOf(user, TOPIC, names.TOPIC_SOURCE, READ),
      completions: aclOf(user, TOPIC, names.TOPIC_COMPLETIONS, WRITE),
      deadLetters: aclOf(user, TOPIC, names.TOPIC_DEAD_LETTERS, WRITE),
      group: aclOf(user, GROUP, names.KAFKA_GROUP_ID, READ),
    };
    await admin.createAcls({ acl: Object.values(acls) });
    const settings = {
      ...names,
      KAFKA_BROKERS: secured.addresses[listener],
      KAFKA_TLS_ENABLED: "true",
      KAFKA_TLS_CAFILEPATH: secured.authority.cert,
      RESONATE_URL: resonateUrl,
      RESONATE_GROUP: `workers-${run}`,
      SESSION_TIMEOUT_MS: "6000",
      SIMULATED_FAILURE_RATE: "0",
      BATCH_PAUSE_MS: "20",
      RETRY_DELAY_MS: "200",
      RECORDS_DB: join(secured.folder, `${run}.db`),
      ...security,
    };
    const producer = secured.admin.producer();
    let completed = 0;
    return {
      settings,
      acls,
      revoke: (acl: ReturnType<typeof aclOf>) => admin.deleteAcls({ filters: [acl] }),
      start: (t: TestContext, extra: Env = {}): WorkerProcess => {
        const worker = spawnWorker({ ...settings, ...extra }, { cwd: secured.folder });
        t.after(async () => {
          everyLine.push([...worker.lines]);
          await worker[Symbol.asyncDispose]();
        });
        return worker;
      },
      /** Produces a record of one batch. */
      produce: async () => {
        const id = randomUUID();
        await using records = await openRecords(settings.RECORDS_DB, { worker: "test", lockWaitMs: 5000 });
        await records.addRows(new Map([[id, 1]]));
        await producer.connect();
        await producer.send({
          topic: names.TOPIC_SOURCE,
          messages: [{ key: id, value: JSON.stringify(id) }],
        });
        await producer.disconnect();
        completed += 1;
      },
      /** Waits until every record has its completion. */
      completions: () =>
        eventually(
          `${completed} completions`,
          async () => {
            const [partition] = await admin.fetchTopicOffsets(names.TOPIC_COMPLETIONS);
            return Number(partition?.high) >= completed;
          },
          60_000,
        ),
    };
  };
  const told = (worker: WorkerProcess, pattern: RegExp, from = 0) =>
    eventually(
      `a line like ${pattern}`,
      () => worker.lines.slice(from).some((line) => pattern.test(line)),
      60_000,
    ).catch((error) => {
      throw new Error(`got ${worker.lines.join("\n")}`, { cause: error });
    });

  /** A broker applies a change of its settings some time after it has agreed to it. */
  const cutUntilTold = async (listener: ListenerName, worker: WorkerProcess, pattern: RegExp) => {
    const timer = setInterval(() => secured.cut(listener), 2000);
    await told(worker, pattern).finally(() => clearInterval(timer));
  };

  const needsKafka = (name: string, work: (t: TestContext) => Promise<void>) =>
    test(name, async (t) => {
      if (unavailable === undefined) await work(t);
      else t.skip(unavailable);
    });

  suite("access", { concurrency: 3 }, () => {
    needsKafka(
      "what is refused at the start is one line, with the setting or right, and exit code 1",
      async (t) => {
        const stranger = await createAuthority(secured.folder, "stranger");
        const worker = await secured.authority.issue("refused");
        const expired = await secured.authority.issue("expired-client", { expired: true });
        const foreign = await stranger.issue("foreign-client");
        const clientOf = ({ cert, key }: { cert: string; key: string }) => ({
          KAFKA_TLS_CERTFILEPATH: cert,
          KAFKA_TLS_KEYFILEPATH: key,
        });
        const badModule = join(secured.folder, "no-provider.ts");
        await writeFile(badModule, "export const other = 1;\n");
        const scram = (bits: number, more: Env) => ({
          KAFKA_SASL_MECHANISM: `SCRAM-SHA-${bits}`,
          ...USER,
          ...more,
        });
        const cases: [string, ListenerName, Env, RegExp][] = [
          [
            "password, PLAIN",
            "SASL",
            { ...PLAIN, KAFKA_SASL_PASSWORD: PASSWORDS.other },
            /^KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD: /,
          ],
          [
            "password, SCRAM 256",
            "SASL",
            scram(256, { KAFKA_SASL_PASSWORD: PASSWORDS.other }),
            /^KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD: /,
          ],
          [
            "user, SCRAM 512",
            "SASL",
            scram(512, { KAFKA_SASL_USERNAME: "nobody" }),
            /^KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD: /,
          ],
          [
            "provider",
            "SASL",
            { KAFKA_SASL_MECHANISM: "OAUTHBEARER", KAFKA_SASL_OAUTHBEARER_PROVIDER: badModule },
            /^KAFKA_SASL_OAUTHBEARER_PROVIDER: .*createTokenProvider/,
          ],
          [
            "authority",
            "SASL",
            { ...PLAIN, KAFKA_TLS_CAFILEPATH: stranger.cert },
            /^KAFKA_TLS_CAFILEPATH: .*(SELF_SIGNED|UNABLE_TO)/,
          ],
          [
            "authority's file",
            "SASL",
            { ...PLAIN, KAFKA_TLS_CAFILEPATH: stranger.key },
            /^KAFKA_TLS_CAFILEPATH: expected a certificate in PEM/,
          ],
          ["expired server", "EXPIRED", {}, /^KAFKA_BROKERS: .*CERT_HAS_EXPIRED/],
          ["other host", "OTHERHOST", {}, /^KAFKA_BROKERS: .*ERR_TLS_CERT_ALTNAME_INVALID/],
          ["no client certificate", "MUTUAL", {}, /^KAFKA_TLS_CERTFILEPATH: .*ALERT/],
          ["expired client certificate", "MUTUAL", clientOf(expired), /^KAFKA_TLS_CERTFILEPATH: .*ALERT/],
          ["foreign client certificate", "MUTUAL", clientOf(foreign), /^KAFKA_TLS_CERTFILEPATH: .*ALERT/],
          [
            "another's key",
            "MUTUAL",
            clientOf({ cert: worker.cert, key: foreign.key }),
            /^KAFKA_TLS_KEYFILEPATH: /,
          ],
        ];
        const check = async ([name, listener, security, expected]: (typeof cases)[number]) => {
          const { start } = await setScene(listener, security);
          const process = start(t);
          assert.equal(await withTimeout(process.exited, 60_000, `the end: ${name}`), 1, name);
          const lines = process.lines.filter((line) => !line.includes("job deletion: "));
          assert.equal(lines.length, 1, `${name}: ${lines.join("\n")}`);
          assert.match(lines[0] ?? "", expected);
        };
        // Some at a time: each is a process.
        const waiting = cases.values();
        await Promise.all(
          [1, 2, 3].map(async () => {
            for (const one of waiting) await check(one);
          }),
        );
      },
    );

    needsKafka("a right that is missing at the start is named, too", async (t) => {
      const cases = {
        source: (names: Env) => `Read on topic ${names.TOPIC_SOURCE}`,
        completions: (names: Env) => `Write on topic ${names.TOPIC_COMPLETIONS}`,
        deadLetters: (names: Env) => `Write on topic ${names.TOPIC_DEAD_LETTERS}`,
        group: (names: Env) => `Read on group ${names.KAFKA_GROUP_ID}`,
      };
      for (const [key, right] of Object.entries(cases)) {
        const { settings, acls, revoke, start } = await setScene("SASL", PLAIN);
        const acl = Object.entries(acls).find(([name]) => name === key)?.[1];
        assert.ok(acl);
        await revoke(acl);
        const process = start(t);
        assert.equal(await withTimeout(process.exited, 60_000, "its end"), 1);
        const refusals = process.lines.filter((line) =>
          line.includes(`expected the right ${right(settings)}, got `),
        );
        assert.equal(refusals.length, 1, process.lines.join("\n"));
        assert.equal(process.lines.at(-1), refusals[0]);
        assert.ok(!process.lines.some((line) => line.includes("is ready")));
      }
    });

    needsKafka("records are done over each mechanism", async (t) => {
      const client = await secured.authority.issue("client");
      const passwordFile = join(secured.folder, "password");
      await writeFile(passwordFile, `${PASSWORDS.worker}\n`);
      const provider = join(secured.folder, "provider.ts");
      await writeFile(
        provider,
        `export const createTokenProvider = () => async (): Promise<{ value: string }> => ({ value: ${JSON.stringify(unsignedToken())} });\n`,
      );
      const fromFile = { KAFKA_SASL_USERNAME: "worker", KAFKA_SASL_PASSWORD_FILE: passwordFile };
      const ways: [ListenerName, Env, string?][] = [
        ["SASL", { KAFKA_SASL_MECHANISM: "PLAIN", ...fromFile }],
        ["SASL", { KAFKA_SASL_MECHANISM: "SCRAM-SHA-256", ...fromFile }],
        ["SASL", { KAFKA_SASL_MECHANISM: "SCRAM-SHA-512", ...USER }],
        ["SASL", { KAFKA_SASL_MECHANISM: "OAUTHBEARER", KAFKA_SASL_OAUTHBEARER_PROVIDER: provider }],
        ["MUTUAL", { KAFKA_TLS_CERTFILEPATH: client.cert, KAFKA_TLS_KEYFILEPATH: client.key }, "CN=client"],
      ];
      for (const [listener, security, user] of ways) {
        const { start, produce, completions } = await setScene(listener, security, user);
        const worker = start(t);
        await worker.ready;
        await produce();
        await completions();
        worker.kill("SIGTERM");
        assert.equal(await worker.exited, 0);
      }
    });

    needsKafka("rights that are taken away amid work are an outage with that line", async (t) => {
      const { settings, acls, revoke, start, produce, completions } = await setScene("SASL", PLAIN);
      const worker = start(t);
      await worker.ready;
      await produce();
      await completions();
      const taken: [ReturnType<typeof aclOf>, string][] = [
        [acls.completions, `Write on topic ${settings.TOPIC_COMPLETIONS}`],
        [acls.source, `Read on topic ${settings.TOPIC_SOURCE}`],
        [acls.group, `Read on group ${settings.KAFKA_GROUP_ID}`],
      ];
      for (const [acl, right] of taken) {
        const before = worker.lines.length;
        await revoke(acl);
        await produce();
        await told(worker, new RegExp(`expected the right ${right}, got `), before);
        await admin.createAcls({ acl: [acl] });
        await completions();
      }
      // While the worker joins anew, too.
      const from = worker.lines.length;
      await revoke(acls.source);
      await produce();
      await told(worker, new RegExp(`expected the right Read on topic ${settings.TOPIC_SOURCE}, got `), from);
      const later = worker.lines.length;
      await revoke(acls.group);
      await admin.createAcls({ acl: [acls.source] });
      await told(
        worker,
        new RegExp(`expected the right Read on group ${settings.KAFKA_GROUP_ID}, got `),
        later,
      );
      await admin.createAcls({ acl: [acls.group] });
      await completions();
      worker.kill("SIGTERM");
      assert.equal(await worker.exited, 0);
    });
  });

  // Alone at the end: these change the broker for all.
  suite("rotation", { concurrency: 1 }, () => {
    const alterBroker = (entries: Readonly<Record<string, string>>) =>
      admin.alterConfigs({
        validateOnly: false,
        resources: [
          {
            type: BROKER,
            name: "1",
            configEntries: Object.entries(entries).map(([name, value]) => ({ name, value })),
          },
        ],
      });
    needsKafka("a password is changed at the broker and in the file, without a restart", async (t) => {
      const path = join(secured.folder, "rotating-password");
      await writeFile(path, PASSWORDS.other);
      const security = {
        KAFKA_SASL_MECHANISM: "SCRAM-SHA-256",
        KAFKA_SASL_USERNAME: "other",
        KAFKA_SASL_PASSWORD_FILE: path,
      };
      const { start, produce, completions } = await setScene("SASL", security, "other");
      const worker = start(t);
      await worker.ready;
      await produce();
      await completions();
      await secured.setPassword("other", NEW_PASSWORD);
      await cutUntilTold(
        "SASL",
        worker,
        /KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD: expected what the broker at .* takes/,
      );
      await writeFile(path, NEW_PASSWORD);
      await produce();
      await completions();
      worker.kill("SIGTERM");
      assert.equal(await worker.exited, 0);
    });

    needsKafka("certificates of both sides and the authority are changed, without a restart", async (t) => {
      const files = {
        KAFKA_TLS_CAFILEPATH: join(secured.folder, "rotating-ca.pem"),
        KAFKA_TLS_CERTFILEPATH: join(secured.folder, "rotating.pem"),
        KAFKA_TLS_KEYFILEPATH: join(secured.folder, "rotating.key"),
      };
      const install = async (ca: string, { cert, key }: { cert: string; key: string }) => {
        await copyFile(ca, files.KAFKA_TLS_CAFILEPATH);
        await copyFile(cert, files.KAFKA_TLS_CERTFILEPATH);
        await copyFile(key, files.KAFKA_TLS_KEYFILEPATH);
      };
      await install(secured.authority.cert, await secured.authority.issue("rotating"));
      const { start, produce, completions } = await setScene("MUTUAL", files, "CN=rotating");
      const worker = start(t);
      await worker.ready;
      await produce();
      await completions();
      const next = await createAuthority(secured.folder, "next");
      const pem = await joinPem(await next.issue("broker"), join(secured.folder, "next.pem"));
      await alterBroker({
        "listener.name.mutual.ssl.keystore.location": pem,
        "listener.name.mutual.ssl.truststore.location": next.cert,
      });
      await cutUntilTold("MUTUAL", worker, /KAFKA_TLS_CAFILEPATH: expected the authority/);
      await install(next.cert, await next.issue("rotating"));
      await produce();
      await completions();
      worker.kill("SIGTERM");
      assert.equal(await worker.exited, 0);
    });
  });
});
