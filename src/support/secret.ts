import { readFileSync } from "node:fs";
import { inspect } from "node:util";
import { AccessError } from "./access-error.ts";
import type { Setting } from "./settings.ts";

/** How long text that was read from a file is taken as read, in milliseconds. */
const FRESH_MS = 1000;

const HIDDEN = "[secret]";

/** Text that no log, error or dump shows: printing, inspecting or serialising it gives "[secret]". */
export class Secret {
  readonly #read: () => string;
  constructor(read: () => string) {
    this.#read = read;
  }
  /**
   * The text itself, as it is now; empty for none.
   *
   * @throws {AccessError} when its file can no longer be read
   */
  reveal(): string {
    return this.#read();
  }
  get isEmpty(): boolean {
    return this.reveal() === "";
  }
  toString(): string {
    return HIDDEN;
  }
  toJSON(): string {
    return HIDDEN;
  }
  [inspect.custom](): string {
    return HIDDEN;
  }
}

/** What a file holds. `name` is the setting that holds its path. @throws {AccessError} */
export const readFileOf = (name: string, path: string): string => {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const got = error instanceof Error && "code" in error ? error.code : error;
    throw new AccessError(`${name}: expected a readable file, got ${got} for ${path}`);
  }
};

/** A setting that is a secret: also as <NAME>_FILE, the path of a file that is read again when it changes. */
export const secret = ({
  expected,
  pattern,
  about,
}: {
  expected: string;
  /** What the text must match; the empty text is none, and always valid. */
  pattern: RegExp;
  about: string;
}): Setting<Secret> => ({
  fallback: "",
  expected,
  about,
  secret: true,
  parse: (text) => (text === "" || pattern.test(text) ? new Secret(() => text) : undefined),
  parseFile: (name, path) => {
    let text = "";
    let freshUntil = 0;
    const read = () => {
      if (Date.now() < freshUntil) return text;
      const now = readFileOf(name, path).replace(/\r?\n$/, "");
      if (!pattern.test(now))
        throw new AccessError(`${name}: expected ${expected}, got a file that holds none`);
      text = now;
      freshUntil = Date.now() + FRESH_MS;
      return text;
    };
    read();
    return new Secret(read);
  },
});
