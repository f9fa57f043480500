/** The parts of kafkajs 2.2.4 that sasl.ts, rights.ts and leave-group.ts use; they have no types. */
declare module "kafkajs/src/broker/saslAuthenticator/plain.js" {
  import type { AuthenticationProviderArgs, Authenticator } from "kafkajs";
  /** `sasl` is read at each authentication. */
  export default function provider(sasl: {
    readonly username: string;
    readonly password: string;
  }): (args: AuthenticationProviderArgs) => Authenticator;
}
declare module "kafkajs/src/broker/saslAuthenticator/scram256.js" {
  export { default } from "kafkajs/src/broker/saslAuthenticator/plain.js";
}
declare module "kafkajs/src/broker/saslAuthenticator/scram512.js" {
  export { default } from "kafkajs/src/broker/saslAuthenticator/plain.js";
}
declare module "kafkajs/src/network/socketFactory.js" {
  import type { ISocketFactory } from "kafkajs";
  export default function createSocketFactory(): ISocketFactory;
}
declare module "kafkajs/src/protocol/encoder.js" {
  export default class Encoder {
    writeString(value: string): this;
    writeBoolean(value: boolean): this;
    writeArray(values: readonly string[]): this;
  }
}
declare module "kafkajs/src/protocol/decoder.js" {
  export default class Decoder {
    constructor(buffer: Buffer);
    readBoolean(): boolean;
    readInt16(): number;
    readInt32(): number;
    readString(): string | null;
    readArray<T>(read: (decoder: Decoder) => T): T[];
  }
}
declare module "kafkajs/src/cluster/index.js" {
  import type { KafkaConfig, Logger } from "kafkajs";
  import type Encoder from "kafkajs/src/protocol/encoder.js";

  interface ProtocolRequest<T> {
    readonly request: {
      readonly apiKey: number;
      readonly apiVersion: number;
      readonly apiName: string;
      encode(): Promise<Encoder>;
    };
    readonly response: { decode(data: Buffer): Promise<T>; parse(decoded: T): Promise<T> };
  }
  export interface Broker {
    /** By API key. */
    readonly versions: Readonly<Record<number, { readonly maxVersion: number } | undefined>>;
    readonly connectionPool: { send<T>(request: ProtocolRequest<T>): Promise<T> };
    leaveGroup(member: { readonly groupId: string; readonly memberId: string }): Promise<unknown>;
  }
  export default class Cluster {
    constructor(options: KafkaConfig & { readonly logger: Logger });
    readonly brokerPool: { readonly seedBroker: Broker };
    connect(): Promise<void>;
    findGroupCoordinator(group: { readonly groupId: string }): Promise<Broker>;
    disconnect(): Promise<void>;
  }
}
