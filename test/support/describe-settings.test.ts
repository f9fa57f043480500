import assert from "node:assert/strict";
import { test } from "node:test";
import dotenv from "dotenv";
import { describeSettings } from "../../src/support/describe-settings.ts";
import { matching, type Setting } from "../../src/support/settings.ts";

const setting = (fallback: string, about: string) =>
  matching(fallback, { expected: "text", pattern: /./, about });
const secret: Setting<string> = { ...setting("s3cret", "A password."), secret: true };

test("a setting is what it is about, then its name and default", () => {
  const schema = { SIZE: setting("10", "Rows a batch."), NAME: setting("a b", "A name.") };
  assert.equal(describeSettings(schema), "# Rows a batch.\nSIZE=10\n# A name.\nNAME=a b");
  assert.deepEqual(dotenv.parse(describeSettings(schema)), { SIZE: "10", NAME: "a b" });
});

test("commented out it sets nothing", () => {
  const text = describeSettings({ SIZE: setting("10", "Rows a batch.") }, { commented: true });
  assert.equal(text, "# Rows a batch.\n# SIZE=10");
  assert.deepEqual(dotenv.parse(text), {});
});

test("a secret shows no value", () => {
  for (const commented of [false, true]) {
    const text = describeSettings({ PASSWORD: secret }, { commented });
    assert.match(text, /PASSWORD=$/);
    assert.doesNotMatch(text, /s3cret/);
  }
});

test("comments are broken between words, at 110 characters", () => {
  const words = Array.from({ length: 60 }, (_, i) => "x".repeat(1 + ((i * 7) % 12)));
  const about = [...words, "y".repeat(150), "end"].join(" ");
  const lines = describeSettings({ SIZE: setting("10", about) })
    .split("\n")
    .slice(0, -1);
  assert.equal(lines.map((line) => line.replace(/^# /, "")).join(" "), about, "no word is lost");
  for (const [index, line] of lines.entries()) {
    assert.ok(line.length <= 110 || line === `# ${"y".repeat(150)}`, line);
    const next = lines[index + 1]?.split(" ")[1];
    if (next !== undefined) assert.ok(`${line} ${next}`.length > 110, "no line ends before it must");
  }
});
