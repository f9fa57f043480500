import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { createServer, type Server } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { spawnWorker } from "../../src/demo/worker-process.ts";
import { type Certificate, createAuthority, hasOpenssl } from "../helpers/certificates.ts";
import { setScene } from "../helpers/deletion-scene.ts";
import { skipWithoutHttp, until, within } from "../helpers/scene.ts";

const TOKEN = "s3cret-t0ken";
const NEXT_TOKEN = "s3cret-next-t0ken";

/** A front before a Resonate server that speaks https only and asks for a token. */
const startFront = async (t: TestContext, target: string, certificate: Certificate) => {
  const read = async ({ cert, key }: Certificate) => ({
    cert: await readFile(cert),
    key: await readFile(key),
  });
  const front = { token: TOKEN, forbids: false };
  const server: Server = createServer(await read(certificate), (incoming, response) => {
    const refused = incoming.headers.authorization !== `Bearer ${front.token}` ? 401 : 403;
    if (refused === 401 || front.forbids) {
      response.writeHead(refused).end("no");
      return;
    }
    const { method, headers, url } = incoming;
    const onward = request(`${target}${url}`, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers).flushHeaders();
      answer.on("error", () => response.destroy()).pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    incoming.pipe(onward);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => server.close().closeAllConnections());
  const address = server.address();
  assert.ok(address !== null && typeof address !== "string");
  return {
    front,
    url: `https://127.0.0.1:${address.port}`,
    cut: () => server.closeAllConnections(),
    present: async (other: Certificate) => {
      server.setSecureContext(await read(other));
      server.closeAllConnections();
    },
  };
};

suite("secured Resonate server", {
  skip: skipWithoutHttp || (!hasOpenssl() && "no openssl here to make certificates"),
  timeout: 120_000,
}, () => {
  const makeFolder = async (t: TestContext) => {
    const folder = await mkdtemp(join(tmpdir(), "secured-resonate-"));
    t.after(() => rm(folder, { recursive: true, force: true }));
    return folder;
  };

  test("a token or certificate that is refused at the start is one line, and exit code 1", async (t) => {
    const folder = await makeFolder(t);
    const authority = await createAuthority(folder, "authority");
    const stranger = await createAuthority(folder, "stranger");
    const { proxy, env } = await setScene(t);
    const good = await startFront(t, proxy.url, await authority.issue("server"));
    const forbidding = await startFront(t, proxy.url, await authority.issue("forbidding"));
    forbidding.front.forbids = true;
    const expired = await startFront(t, proxy.url, await authority.issue("expired", { expired: true }));
    const far = await startFront(t, proxy.url, await authority.issue("far", { host: "far.example" }));
    const access = { RESONATE_TOKEN: TOKEN, RESONATE_CA_FILEPATH: authority.cert };
    const cases: [string, Readonly<Record<string, string>>, RegExp][] = [
      [good.url, { ...access, RESONATE_TOKEN: NEXT_TOKEN }, /^RESONATE_TOKEN: .* got status 401$/],
      [good.url, { ...access, RESONATE_TOKEN: "" }, /^RESONATE_TOKEN: .* got status 401$/],
      [forbidding.url, access, /^RESONATE_TOKEN: .* got status 403$/],
      [good.url, { ...access, RESONATE_CA_FILEPATH: stranger.cert }, /^RESONATE_CA_FILEPATH: /],
      [
        good.url,
        { ...access, RESONATE_CA_FILEPATH: join(folder, "none") },
        /^RESONATE_CA_FILEPATH: .* ENOENT/,
      ],
      [expired.url, access, /^RESONATE_URL: .* CERT_HAS_EXPIRED$/],
      [far.url, access, /^RESONATE_URL: .* ERR_TLS_CERT_ALTNAME_INVALID/],
    ];
    for (const [url, settings, expected] of cases) {
      await using worker = spawnWorker({ ...env, RESONATE_URL: url, ...settings }, { cwd: folder });
      assert.equal(await within("its end", worker.exited), 1);
      const lines = worker.lines.filter((line) => !line.includes("job deletion: "));
      assert.equal(lines.length, 1, lines.join("\n"));
      assert.match(lines[0] ?? "", expected);
      for (const secret of [TOKEN, NEXT_TOKEN]) assert.ok(!worker.lines.join("\n").includes(secret));
    }
  });

  test("token, certificate and authority are changed amid work, without a restart", async (t) => {
    const folder = await makeFolder(t);
    const authority = await createAuthority(folder, "authority");
    const next = await createAuthority(folder, "next");
    const { proxy, startWorker, seed, completionsOf } = await setScene(t);
    const { front, url, cut, present } = await startFront(t, proxy.url, await authority.issue("server"));
    const token = join(folder, "token");
    const ca = join(folder, "ca.pem");
    await writeFile(token, `${TOKEN}\n`);
    await copyFile(authority.cert, ca);
    const worker = await startWorker({
      RESONATE_URL: url,
      RESONATE_TOKEN_FILE: token,
      RESONATE_CA_FILEPATH: ca,
    });
    const work = async () => {
      const id = await seed({ batches: 1 });
      await until("its completion", () => completionsOf(id).length === 1, 20_000).catch((error) => {
        throw new Error(worker.lines.slice(-10).join("\n"), { cause: error });
      });
    };
    const told = (pattern: RegExp) =>
      until(`a line like ${pattern}`, () => worker.lines.some((line) => pattern.test(line)), 20_000).catch(
        (error) => {
          throw new Error(worker.lines.slice(-10).join("\n"), { cause: error });
        },
      );
    await work();

    front.token = NEXT_TOKEN;
    cut();
    await told(/no executions arrive.*RESONATE_TOKEN: .*401/);
    await writeFile(token, NEXT_TOKEN);
    await work();

    await present(await next.issue("server"));
    await told(/no executions arrive.*RESONATE_CA_FILEPATH: /);
    await copyFile(next.cert, ca);
    await work();

    front.forbids = true;
    cut();
    await told(/RESONATE_TOKEN: .*403/);
    front.forbids = false;
    await work();

    worker.kill("SIGTERM");
    assert.equal(await within("its end", worker.exited), 0);
    for (const secret of [TOKEN, NEXT_TOKEN]) assert.ok(!worker.lines.join("\n").includes(secret));
  });
});
