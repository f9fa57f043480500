import assert from "node:assert/strict";
import { registerHooks } from "node:module";
import { test } from "node:test";
import { inspect } from "node:util";
import { openRecords } from "../../../src/jobs/deletion/open-records.ts";
import { settings } from "../../../src/jobs/deletion/settings.ts";
import { OutageError } from "../../../src/support/errors.ts";
import { parseSettings, SettingsError } from "../../../src/support/settings.ts";

const URL_WITH_PASSWORD = "postgres://user:s3cret@127.0.0.1:1/name";

test("without the package pg a postgres:// URL is refused with one line that names it", async (t) => {
  const hooks = registerHooks({
    resolve: (specifier, context, next) => {
      if (specifier === "pg") throw new Error("Cannot find package 'pg'");
      return next(specifier, context);
    },
  });
  t.after(() => hooks.deregister());
  await assert.rejects(openRecords(URL_WITH_PASSWORD, { worker: "w" }), (error) => {
    assert.ok(error instanceof SettingsError);
    assert.match(error.message, /^RECORDS_DB: expected the package pg, .* run: npm install pg$/);
    return true;
  });
});

test("a server of Postgres that is not there is an outage, told without user name and password", async () => {
  await assert.rejects(openRecords(URL_WITH_PASSWORD, { worker: "w" }), (error) => {
    assert.ok(error instanceof OutageError);
    assert.match(error.message, /^row store postgres:\/\/127\.0\.0\.1:1\/name: connect ECONNREFUSED/);
    assert.doesNotMatch(inspect(error, { depth: 20, showHidden: true }), /s3cret|user/);
    return true;
  });
});

test("RECORDS_DB takes the path of a file or a URL of Postgres", () => {
  for (const place of [
    "records.db",
    "/data/my records.db",
    "C:\\records.db",
    "./a:b.db",
    "postgres://host/name",
    "postgresql://user:p%40ss@host:5433/name?sslmode=verify-full",
    "postgres:///name?host=/run/postgresql",
  ]) {
    assert.equal(parseSettings(settings, { RECORDS_DB: place }).RECORDS_DB, place);
  }
});

test("RECORDS_DB: any other URL is refused, and what may be a password is not shown", () => {
  for (const place of [
    "postgress://user:s3cret@host/name",
    "mysql://host/name?password=s3cret",
    "postgres://user:1/s3cret@host/name",
    "postgres://user:1?s3cret@host/name",
    "postgres://user:1#s3cret@host/name",
    "postgres://user:s3cret/@host/name",
    "postgres:/user:s3cret@host/name",
    "postgres:user:s3cret@host/name",
    "x://user:s3cret@host/name",
    "file:/tmp/u.db",
    "sqlite:u.db",
    ":memory:",
  ]) {
    assert.throws(
      () => parseSettings(settings, { RECORDS_DB: place }),
      (error) => {
        assert.ok(error instanceof SettingsError, `${place} was taken`);
        assert.match(error.message, /^RECORDS_DB: expected the path of a file, or a postgres:\/\/ URL/);
        assert.doesNotMatch(error.message, /s3cret/);
        return true;
      },
    );
  }
});
