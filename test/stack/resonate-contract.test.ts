/** What the worker relies on in a Resonate server: the embedded one, or a real one by RESONATE_URL. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startServer } from "./resonate-client.ts";
import { testContract } from "./resonate-contract.ts";

testContract({ start: startServer, prefersOwner: true });

test("its health can be asked for, and what is no request is refused", async (t) => {
  const url = await startServer(t);
  assert.equal((await fetch(`${url}/health`)).status, 200);
  for (const body of [
    "",
    "{",
    "[]",
    '{"kind":"task.nonsense","head":{"corrId":"1","version":"1"},"data":{}}',
  ]) {
    const { status } = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    assert.ok(status >= 400 && status < 500, `${status} for ${body}`);
  }
});
