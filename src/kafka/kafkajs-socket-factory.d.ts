/** The part of kafkajs 2.2.4's src/network/socketFactory.js that addresses.ts wraps; it has no types. */
declare module "kafkajs/src/network/socketFactory.js" {
  import type { ISocketFactory } from "kafkajs";
  export default function createSocketFactory(): ISocketFactory;
}
