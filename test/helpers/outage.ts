import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout } from "node:timers/promises";
import { type Scene, until } from "./scene.ts";

const { KAFKA_BROKERS = "", KAFKA_RESTART = "", RESONATE_URL = "", RESONATE_RESTART = "" } = process.env;

/** Why tests of an outage are skipped, or `false`: a real broker or server is taken away by a command only. */
export const skipBrokerOutage: string | false =
  KAFKA_BROKERS !== "" && KAFKA_RESTART === "" && "needs KAFKA_RESTART, a command that restarts the broker";
export const skipServerOutage: string | false =
  KAFKA_BROKERS !== "" &&
  RESONATE_RESTART === "" &&
  "needs RESONATE_RESTART, a command that restarts the server";

/** Something that is down until its `end`. */
export interface Outage {
  /** Resolves once it is up again. */
  end(): Promise<void>;
}

/** Whether something listens at `host:port`. */
export const isListening = async (address: string): Promise<boolean> => {
  const { hostname, port } = new URL(`tcp://${address}`);
  const socket = connect({ host: hostname, port: Number(port) });
  const listens = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  socket.destroy();
  return listens;
};

/** Runs a shell command that stops what listens at `address`, waits for OUTAGE_SECONDS and starts it again. */
const restartByCommand = async (command: string, address: string, ms: number): Promise<Outage> => {
  const restart = spawn(command, {
    shell: true,
    // What it starts outlives this process.
    detached: true,
    stdio: "ignore",
    env: { ...process.env, OUTAGE_SECONDS: String(ms / 1000) },
  });
  const exited = once(restart, "exit");
  await until(`nothing at ${address}`, async () => !(await isListening(address)));
  return {
    end: async () => assert.deepEqual(await exited, [0, null], `expected '${command}' to succeed`),
  };
};

/**
 * Takes the broker away, which keeps its log, for at least `ms` milliseconds. A real one takes the shell command in
 * KAFKA_RESTART to stop it, to wait for OUTAGE_SECONDS, and to start it again.
 */
export const beginBrokerOutage = async ({ embedded }: Scene, ms: number): Promise<Outage> => {
  if (!embedded) return restartByCommand(KAFKA_RESTART, KAFKA_BROKERS, ms);
  await embedded.broker.stop();
  return {
    end: async () => {
      await setTimeout(ms);
      await embedded.broker.listen({ port: embedded.kafkaPort });
    },
  };
};

/** Takes the server away, which keeps its state, as `beginBrokerOutage` does; a real one by RESONATE_RESTART. */
export const beginServerOutage = async ({ embedded }: Scene, ms: number): Promise<Outage> => {
  if (!embedded) return restartByCommand(RESONATE_RESTART, new URL(RESONATE_URL).host, ms);
  await embedded.server.stop();
  return {
    end: async () => {
      await setTimeout(ms);
      await embedded.server.listen({ port: Number(new URL(embedded.url).port) });
    },
  };
};
