import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { connectTo, kafkajsAddress } from "../../src/kafka/addresses.ts";

test("an address has one ':' before its port, whatever stands for its host", () => {
  assert.equal(kafkajsAddress("broker-1.example:9092"), "broker-1.example:9092");
  assert.equal(kafkajsAddress("127.0.0.1:9092"), "127.0.0.1:9092");
  for (const address of ["[::1]:9092", "[2001:db8::8:800:200c:417a]:9092"]) {
    assert.deepEqual(kafkajsAddress(address).split(":")[1], "9092");
  }
});

for (const host of ["::1", "127.0.0.1"]) {
  test(`a connection to ${host} is opened, as kafkajs cuts its address and as a broker gives it`, async (t) => {
    const server = createServer((socket) => socket.end()).listen(0, host);
    t.after(() => server.close());
    await once(server, "listening");
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    const bracketed = host.includes(":") ? `[${host}]` : host;
    const [cut = ""] = kafkajsAddress(`${bracketed}:${address.port}`).split(":");
    for (const name of [cut, host]) {
      const connected = Promise.withResolvers<void>();
      // kafkajs gives no `ssl` where none is set, whatever its types say.
      const socket = connectTo({ host: name, port: address.port, onConnect: connected.resolve } as never);
      socket.on("error", connected.reject);
      await connected.promise;
      socket.destroy();
    }
  });
}
