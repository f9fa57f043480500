import { execFile } from "node:child_process";
import { pbkdf2Sync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect as connectTcp, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Kafka } from "kafkajs";
import { createKafka } from "../../src/kafka/client.ts";
import { createListener, type Listener } from "../../src/stack/listener.ts";
import { silentLog } from "../../src/support/log.ts";
import { type Authority, createAuthority, hasOpenssl, joinPem } from "./certificates.ts";
import { findFreePorts } from "./free-port.ts";

const run = promisify(execFile);
const SCRIPT = fileURLToPath(new URL("../../.ci/kafka", import.meta.url));

/** Users of every mechanism; `worker` is the one whose rights the tests give and take. */
export const PASSWORDS = { worker: "s3cret-of-worker", other: "s3cret-of-other" };

/** Security of each listener beside the plain one, whose users may do everything. */
const LISTENERS = { SASL: "SASL_SSL", MUTUAL: "SSL", EXPIRED: "SSL", OTHERHOST: "SSL" };
export type ListenerName = keyof typeof LISTENERS;

export interface SecuredKafka extends AsyncDisposable {
  readonly folder: string;
  readonly authority: Authority;
  /** As in KAFKA_BROKERS, by listener; each leads through a relay that can cut connections. */
  readonly addresses: Readonly<Record<ListenerName, string>>;
  /** Cuts the connections of a listener. */
  cut(listener: ListenerName): void;
  /** Gives a user of SCRAM-SHA-256 another password. */
  setPassword(user: string, password: string): Promise<void>;
  /** A client that may do everything. */
  readonly admin: Kafka;
}

/** Relays a free port to `port`, which is known once there is a broker. */
const startRelay = async (port: () => number): Promise<{ port: number; listener: Listener }> => {
  const server = createServer((socket) => {
    const onward = connectTcp(port(), "127.0.0.1");
    socket.pipe(onward).pipe(socket);
    for (const [one, two] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      one.on("error", () => two.destroy()).on("close", () => two.destroy());
    }
  });
  const listener = createListener(server);
  return { port: await listener.open({ port: 0, host: "127.0.0.1" }), listener };
};

/** AlterUserScramCredentials, version 0, of one user: kafkajs has no call for it. */
const setScramPassword = async (port: number, user: string, password: string): Promise<void> => {
  const compact = (bytes: Buffer) => Buffer.concat([Buffer.from([bytes.length + 1]), bytes]);
  const salt = randomBytes(16);
  const iterations = 4096;
  const salted = pbkdf2Sync(password, salt, iterations, 32, "sha256");
  const numbers = Buffer.from([1, 0, 0, iterations >> 8, 0]); // SCRAM-SHA-256 and its iterations
  const header = Buffer.from([0, 51, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0]); // key, version, correlation, no client id
  const one = [compact(Buffer.from(user)), numbers, compact(salt), compact(salted), Buffer.from([0, 0])];
  // No deletions, one upsertion.
  const body = Buffer.concat([header, Buffer.from([1, 2]), ...one]);
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length);
  const socket = connectTcp(port, "127.0.0.1");
  socket.write(Buffer.concat([length, body]));
  const [answer]: Buffer[] = await once(socket, "data");
  socket.destroy();
  // Behind length, correlation, tags, throttle time, the number of results, and the user.
  const error = answer?.readInt16BE(4 + 4 + 1 + 4 + 1 + 1 + Buffer.byteLength(user));
  if (error !== 0) throw new Error(`expected the password of ${user} to be changed, got error ${error}`);
};

/**
 * Starts an Apache Kafka with TLS, mutual TLS, SASL and ACLs, with certificates of its own. Gives the reason instead
 * where that cannot be.
 */
export const startSecuredKafka = async (): Promise<SecuredKafka | string> => {
  if (!hasOpenssl()) return "no openssl here to make certificates";
  await using opened = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "secured-"));
  opened.defer(() => rm(folder, { recursive: true, force: true }));
  const authority = await createAuthority(folder, "authority");
  const good = await joinPem(await authority.issue("broker"), join(folder, "good.pem"));
  const expired = await joinPem(await authority.issue("old", { expired: true }), join(folder, "expired.pem"));
  const other = await joinPem(
    await authority.issue("far", { host: "far.example" }),
    join(folder, "other.pem"),
  );

  const names = Object.keys(LISTENERS) as ListenerName[];
  const [plain = 0, ...ports] = await findFreePorts(names.length + 1);
  const relays = await Promise.all(ports.map((port) => startRelay(() => port)));
  for (const { listener } of relays) opened.defer(() => listener.close());
  const relayOf = (name: ListenerName) => {
    const relay = relays[names.indexOf(name)];
    if (!relay) throw new Error(`expected a relay for ${name}`);
    return relay;
  };
  const plainUsers = Object.entries(PASSWORDS).map(([user, password]) => `user_${user}="${password}"`);
  const modules = "org.apache.kafka.common.security";
  const properties = [
    `listeners=${names.map((name, index) => `${name}://127.0.0.1:${ports[index]}`).join(",")}`,
    `advertised.listeners=${[`PLAINTEXT://127.0.0.1:${plain}`, ...names.map((name) => `${name}://127.0.0.1:${relayOf(name).port}`)].join(",")}`,
    `listener.security.protocol.map=${Object.entries({
      PLAINTEXT: "PLAINTEXT",
      CONTROLLER: "PLAINTEXT",
      ...LISTENERS,
    })
      .map((pair) => pair.join(":"))
      .join(",")}`,
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users=User:ANONYMOUS",
    ...Object.entries({ SASL: good, MUTUAL: good, EXPIRED: expired, OTHERHOST: other }).flatMap(
      ([name, pem]) => {
        const prefix = `listener.name.${name.toLowerCase()}.ssl`;
        return [
          `${prefix}.keystore.type=PEM`,
          `${prefix}.keystore.location=${pem}`,
          `${prefix}.truststore.type=PEM`,
          `${prefix}.truststore.location=${authority.cert}`,
        ];
      },
    ),
    "listener.name.mutual.ssl.client.auth=required",
    "listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
    `listener.name.sasl.plain.sasl.jaas.config=${modules}.plain.PlainLoginModule required ${plainUsers.join(" ")};`,
    `listener.name.sasl.scram-sha-256.sasl.jaas.config=${modules}.scram.ScramLoginModule required;`,
    `listener.name.sasl.scram-sha-512.sasl.jaas.config=${modules}.scram.ScramLoginModule required;`,
    `listener.name.sasl.oauthbearer.sasl.jaas.config=${modules}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
  ];
  const path = join(folder, "extra.properties");
  await writeFile(path, `${properties.join("\n")}\n`);
  const scram = ["SCRAM-SHA-256", "SCRAM-SHA-512"].flatMap((mechanism) =>
    Object.entries(PASSWORDS).map(([user, password]) => `${mechanism}=[name=${user},password=${password}]`),
  );
  const dir = join(folder, "kafka");
  const env = { ...process.env, KAFKA_PROPERTIES: path, KAFKA_SCRAM: scram.join("\n") };
  try {
    opened.defer(async () => void (await run(SCRIPT, ["stop", dir])));
    await run(SCRIPT, ["start", dir, String(plain)], { env });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === 3)
      return String("stderr" in error ? error.stderr : error);
    throw error;
  }
  const admin = createKafka({ KAFKA_BROKERS: [`127.0.0.1:${plain}`] }, { clientId: "admin", log: silentLog });
  const resources = opened.move();
  return {
    folder,
    authority,
    addresses: {
      SASL: "",
      MUTUAL: "",
      EXPIRED: "",
      OTHERHOST: "",
      ...Object.fromEntries(names.map((name) => [name, `127.0.0.1:${relayOf(name).port}`])),
    },
    cut: (name) => void relayOf(name).listener.drop(),
    admin,
    setPassword: (user, password) => setScramPassword(plain, user, password),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
};
