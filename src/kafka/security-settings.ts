import { secret } from "../support/secret.ts";
import { type Env, oneOf, type Setting, type Settings } from "../support/settings.ts";

const text = (expected: string, about: string): Setting<string> => ({
  fallback: "",
  expected,
  about,
  parse: (value) => (/[\0\r\n]/.test(value) ? undefined : value),
});
const path = (about: string) => text("the path of a file", about);

/** How a client proves who it is, and that the broker is the one that is meant. Named as in Redpanda Console. */
export const kafkaSecuritySchema = {
  KAFKA_TLS_ENABLED: oneOf(["false", "true"], {
    expected: "true or false",
    about: "Whether the brokers are spoken to over TLS.",
  }),
  KAFKA_TLS_CAFILEPATH: path(
    "PEM file with the authorities that sign the brokers' certificates; empty for Node's own.",
  ),
  KAFKA_TLS_CERTFILEPATH: path("PEM file with the client's certificate, for mutual TLS."),
  KAFKA_TLS_KEYFILEPATH: path("PEM file with the key of that certificate."),
  KAFKA_SASL_MECHANISM: oneOf(["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"], {
    expected: "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER, or nothing",
    about: "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER; empty for none.",
  }),
  KAFKA_SASL_USERNAME: text("a user name of one line", "User name for PLAIN and SCRAM."),
  KAFKA_SASL_PASSWORD: secret({
    expected: "a password of one line",
    pattern: /^[^\r\n\0]+$/,
    about: "Password for PLAIN and SCRAM, or KAFKA_SASL_PASSWORD_FILE with the path of a file that holds it.",
  }),
  KAFKA_SASL_OAUTHBEARER_PROVIDER: path(
    "Path of a module that exports createTokenProvider, for OAUTHBEARER: see docs/secured-kafka.md.",
  ),
};

export type KafkaSecuritySettings = Settings<typeof kafkaSecuritySchema>;

/** What must hold between these settings: a line for each that does not. */
export const checkKafkaSecurity = (values: Env): string[] => {
  const isSet = (name: string) => (values[name] ?? "").trim() !== "";
  const mechanism = (values.KAFKA_SASL_MECHANISM ?? "").trim();
  const faults: string[] = [];
  const requires = (name: string, isNeeded: boolean, why: string, given = isSet(name)) => {
    if (isNeeded && !given) faults.push(`${name}: expected a value with ${why}, got none`);
    if (!isNeeded && given) faults.push(`${name}: expected a value only with ${why}, got one`);
  };
  const isTls = (values.KAFKA_TLS_ENABLED ?? "").trim() === "true";
  for (const name of ["KAFKA_TLS_CAFILEPATH", "KAFKA_TLS_CERTFILEPATH", "KAFKA_TLS_KEYFILEPATH"]) {
    if (!isTls) requires(name, false, "KAFKA_TLS_ENABLED=true");
  }
  if (isSet("KAFKA_TLS_CERTFILEPATH") !== isSet("KAFKA_TLS_KEYFILEPATH")) {
    faults.push("KAFKA_TLS_CERTFILEPATH, KAFKA_TLS_KEYFILEPATH: expected both or none, got one");
  }
  const byPassword = /^(PLAIN|SCRAM-SHA-(256|512))$/.test(mechanism);
  const password = isSet("KAFKA_SASL_PASSWORD") || isSet("KAFKA_SASL_PASSWORD_FILE");
  const passwordMechanism = "KAFKA_SASL_MECHANISM=PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";
  requires("KAFKA_SASL_USERNAME", byPassword, passwordMechanism);
  requires("KAFKA_SASL_PASSWORD", byPassword, passwordMechanism, password);
  requires(
    "KAFKA_SASL_OAUTHBEARER_PROVIDER",
    mechanism === "OAUTHBEARER",
    "KAFKA_SASL_MECHANISM=OAUTHBEARER",
  );
  return faults;
};
