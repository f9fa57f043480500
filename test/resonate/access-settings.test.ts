import assert from "node:assert/strict";
import { registerHooks } from "node:module";
import { test } from "node:test";
import { accessOf, accessSchema, checkAccess } from "../../src/resonate/access-settings.ts";
import { ping } from "../../src/resonate/open-transport.ts";
import { parseSettings, SettingsError } from "../../src/support/settings.ts";
import { accessTo } from "../helpers/unit-resonate.ts";

const parse = (env: Record<string, string>) => parseSettings(accessSchema, env, { check: checkAccess });

const refused = (env: Record<string, string>, line: RegExp) =>
  assert.throws(
    () => parse(env),
    (error) =>
      error instanceof SettingsError && line.test(error.message) && !error.message.includes("s3cret"),
  );

test("RESONATE_URL takes a server or a database", () => {
  for (const url of [
    "http://localhost:8001",
    "https://resonate.example",
    "postgres://user:s3cret@db.example:5432/name",
  ])
    assert.equal(accessOf(parse({ RESONATE_URL: url })).url, url);
  assert.equal(accessOf(parse({})).url, "http://localhost:8001");
});

test("any other URL is refused, and what may be a password is not shown", () => {
  for (const RESONATE_URL of [
    "",
    "localhost:8001",
    "http://user:s3cret@localhost",
    "postgres://user:s3/cret@host/name",
  ])
    refused(
      { RESONATE_URL },
      /^RESONATE_URL: expected an http:\/\/ or https:\/\/ URL .* or a postgres:\/\/ URL/,
    );
});

test("token and authority are a server's", () => {
  const RESONATE_URL = "postgres://user:s3cret@host/name";
  refused(
    { RESONATE_URL, RESONATE_TOKEN: "t" },
    /^RESONATE_TOKEN: expected none with a postgres:\/\/ RESONATE_URL/,
  );
  refused(
    { RESONATE_URL, RESONATE_CA_FILEPATH: "ca.pem" },
    /^RESONATE_CA_FILEPATH: expected a value only with/,
  );
});

test("without the package pg a postgres:// URL is refused with one line that names it", async (t) => {
  const hooks = registerHooks({
    resolve: (specifier, context, next) => {
      if (specifier === "pg") throw new Error("Cannot find package 'pg'");
      return next(specifier, context);
    },
  });
  t.after(() => hooks.deregister());
  await assert.rejects(
    ping(accessTo("postgres://user:s3cret@127.0.0.1:1/name")),
    /^SettingsError: RESONATE_URL: expected the package pg, .* run: npm install pg$/,
  );
});
