import assert from "node:assert/strict";
import { test } from "node:test";
import { assertNotTaken } from "../../src/support/npm-options.ts";
import { SettingsError } from "../../src/support/settings.ts";

const NONE = { reason: undefined, "older-than": "", "dry-run": false };

test("an option that npm took is refused with the line to type", () => {
  for (const [env, options] of [
    [{ npm_config_dry_run: "true" }, ["--dry-run"]],
    [{ npm_config_reason: "cancelled" }, ["--reason"]],
    [{ npm_config_older_than: "true", npm_config_dry_run: "true" }, ["--older-than", "--dry-run"]],
  ] as const) {
    assert.throws(
      () => assertNotTaken("redrive", NONE, env),
      (error) => {
        assert.ok(error instanceof SettingsError);
        const typed = `'npm run redrive -- ${options.join(" ")}'`;
        assert.equal(
          error.message,
          `npm took ${options.join(" and ")} for its own: expected ${typed}, with '--' before the options`,
        );
        return true;
      },
    );
  }
});

test("an option that the command was given, too, and what npm has off, are no matter", () => {
  const given = { reason: "cancelled", "dry-run": true };
  assertNotTaken("redrive", given, { npm_config_dry_run: "true", npm_config_reason: "x" });
  assertNotTaken("redrive", NONE, { npm_config_dry_run: "false" });
  assertNotTaken("redrive", NONE, { npm_config_dry_run: "", npm_config_force: "true" });
});
