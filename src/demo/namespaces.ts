import { execFileSync } from "node:child_process";
import { describe } from "../support/errors.ts";
import type { OpenHost } from "./worker-host.ts";

/** Hosts of their own, all on this machine: network namespaces on one bridge. */
export interface Namespaces extends AsyncDisposable {
  /** The address under which this host is reached from them, and from itself. */
  readonly address: string;
  /** @param resonateUrl as it is reached by that address */
  onHostOfItsOwn(resonateUrl: string): OpenHost;
}

/** They are not possible here: for want of Linux, of root, or of the program `ip` of iproute2. */
class NamespacesError extends Error {
  readonly code = "NAMESPACES";
  readonly canRetry = false;
  override name = "NamespacesError";
}

/** In 198.18.0.0/15, the range for tests of networks (RFC 2544). */
const SUBNET = "198.18.0";
/** The last numbers of addresses in it: the bridge has 1. */
const FIRST_HOST = 2;
const LAST_HOST = 254;

const ip = (command: string) => execFileSync("ip", command.split(" "), { stdio: "pipe" });

/**
 * Opens a bridge for them. Disposing of it removes all.
 *
 * @param subnet its first three numbers: two bridges must not have the same
 * @throws {NamespacesError} where they are not possible
 */
export const openNamespaces = async (subnet: string = SUBNET): Promise<Namespaces> => {
  await using opened = new AsyncDisposableStack();
  const bridge = `soak${process.pid}`;
  const address = `${subnet}.1`;
  try {
    ip(`link add ${bridge} type bridge`);
    opened.defer(async () => void ip(`link del ${bridge}`));
    ip(`addr add ${address}/24 dev ${bridge}`);
    ip(`link set ${bridge} up`);
  } catch (error) {
    throw new NamespacesError(`expected root on Linux, with iproute2; got: ${describe(error)}`, {
      cause: error,
    });
  }
  const free = Array.from({ length: LAST_HOST - FIRST_HOST + 1 }, (_, i) => FIRST_HOST + i);

  const resources = opened.move();
  return {
    address,
    onHostOfItsOwn: (resonateUrl) => async () => {
      const number = free.shift();
      if (number === undefined)
        throw new NamespacesError(`expected at most ${LAST_HOST - FIRST_HOST + 1} hosts, got another`);
      const name = `${bridge}-${number}`;
      const [outside, inside] = [`v${process.pid}-${number}`, `w${process.pid}-${number}`];
      await using host = new AsyncDisposableStack();
      host.defer(async () => void free.push(number));
      ip(`netns add ${name}`);
      host.defer(async () => void ip(`netns del ${name}`));
      ip(`link add ${outside} type veth peer name ${inside} netns ${name}`);
      ip(`link set ${outside} master ${bridge} up`);
      ip(`-n ${name} addr add ${subnet}.${number}/24 dev ${inside}`);
      ip(`-n ${name} link set ${inside} up`);
      ip(`-n ${name} link set lo up`);
      const own = host.move();
      return {
        resonateUrl,
        command: ["ip", "netns", "exec", name],
        fallSilent: () => void ip(`link set ${outside} down`),
        recover: () => void ip(`link set ${outside} up`),
        [Symbol.asyncDispose]: () => own.disposeAsync(),
      };
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
};
