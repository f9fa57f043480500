import dotenv from "dotenv";
import { toError } from "./errors.ts";

/** The environment as Node gives it: names to values, unset names absent. */
export type Env = Readonly<Record<string, string | undefined>>;

/** One setting: its default as it would stand in `.env`, what is expected, and how to read it. */
export interface Setting<T> {
  readonly fallback: string;
  readonly expected: string;
  /** Its line in `.env.example` and `--help`. */
  readonly about: string;
  /** Returns `undefined` for text that is not what is expected. */
  readonly parse: (text: string) => T | undefined;
  /** The value never appears in a message. */
  readonly secret?: true;
  /** Reads the value from the file that <NAME>_FILE names; throws an error whose message is the fault. */
  readonly parseFile?: (name: string, path: string) => T;
}

/** Settings by name. */
export type Schema = Readonly<Record<string, Setting<unknown>>>;

/** The values of a schema's settings, parsed and valid. */
export type Settings<S extends Schema> = { readonly [K in keyof S]: NonNullable<ReturnType<S[K]["parse"]>> };

/** One of `values`; the first is the default. */
export const oneOf = <T extends string>(
  values: readonly [T, ...T[]],
  { expected, about }: { expected: string; about: string },
): Setting<T> => ({
  fallback: values[0],
  expected,
  about,
  parse: (text) => values.find((value) => value === text),
});

/** Text that matches `pattern`. */
export const matching = (
  fallback: string,
  { expected, pattern, about }: { expected: string; pattern: RegExp; about: string },
): Setting<string> => ({
  fallback,
  expected,
  about,
  parse: (text) => (pattern.test(text) ? text : undefined),
});

/** A number of which `isValid` says that it will do. */
export const number = (
  fallback: number,
  { expected, isValid, about }: { expected: string; isValid: (value: number) => boolean; about: string },
): Setting<number> => ({
  fallback: String(fallback),
  expected,
  about,
  parse: (text) => {
    const value = /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
    return isValid(value) ? value : undefined;
  },
});

/** A whole number from `min` to `max`. */
export const integer = (
  fallback: number,
  { min, max, unit, about }: { min: number; max: number; unit: string; about: string },
): Setting<number> =>
  number(fallback, {
    expected: `a whole number of ${unit} from ${min} to ${max}`,
    isValid: (value) => Number.isInteger(value) && value >= min && value <= max,
    about,
  });

/** The URL of a server: scheme, host and port, nothing else. */
export const httpUrl = (fallback: string, about: string): Setting<string> => ({
  fallback,
  expected: "an http:// or https:// URL of host and port, without user name, password and path",
  about,
  parse: (text) => {
    const url = URL.parse(text);
    if (url === null || !/^https?:$/.test(url.protocol)) return;
    return url.href === `${url.origin}/` ? url.origin : undefined;
  },
});

/** Settings or options that are not valid. `message` holds one line for each of them. A retry cannot help. */
export class SettingsError extends Error {
  readonly code = "INVALID_SETTINGS";
  readonly canRetry = false;
  constructor(faults: readonly string[], options?: ErrorOptions) {
    super(faults.join("\n"), options);
    this.name = "SettingsError";
  }
}

/** The settings that a fault is about. */
const namesOf = (fault: string): string[] => fault.split(":", 1).join().split(", ");

/**
 * Reads the settings of `schema` from `env`; a name that is not set takes its default.
 *
 * @param renamed old names, each with the one that took its place: an old one that is set is a fault
 * @param check what must hold between the settings, given as text, <NAME>_FILE included: returns further faults
 * @throws {SettingsError} one line for each setting that is not valid: its name, what was expected, what was got
 */
export const parseSettings = <S extends Schema>(
  schema: S,
  env: Env,
  {
    renamed = {},
    check = () => [],
  }: { renamed?: Readonly<Record<string, string>>; check?: (values: Env) => readonly string[] } = {},
): Settings<S> => {
  const faults: string[] = [];
  const readFile = (name: string, path: string, parseFile: (name: string, path: string) => unknown) => {
    try {
      return parseFile(name, path.trim());
    } catch (error) {
      faults.push(toError(error).message);
      return;
    }
  };
  const read = (name: string, { fallback, expected, parse, parseFile, secret }: Setting<unknown>) => {
    const file = `${name}_FILE`;
    const path = env[file] ?? "";
    if (parseFile && path !== "") {
      if ((env[name] ?? "") === "") return readFile(file, path, parseFile);
      faults.push(`${name}, ${file}: expected one of the two, got both`);
      return;
    }
    const text = env[name] ?? fallback;
    const value = parse(text.trim());
    if (value === undefined) {
      // What stands before an '@' may be a password, and a URL may name one among its parameters.
      const hidden = secret || /@|password/i.test(text);
      const got = hidden ? "one that is not (it is not shown)" : JSON.stringify(text);
      faults.push(`${name}: expected ${expected}, got ${got}`);
    }
    return value;
  };
  for (const [old, now] of Object.entries(renamed)) {
    if (env[old] !== undefined) faults.push(`${old}: this setting is now called ${now}`);
  }
  const entries = Object.entries(schema);
  const values = Object.fromEntries(entries.map(([name, setting]) => [name, read(name, setting)]));
  const named = new Set(faults.flatMap(namesOf));
  faults.push(
    ...check(
      Object.fromEntries(
        entries.flatMap(([name, { fallback, parseFile }]) => [
          [name, (env[name] ?? fallback).trim()],
          ...(parseFile ? [[`${name}_FILE`, (env[`${name}_FILE`] ?? "").trim()]] : []),
        ]),
      ),
    ).filter((fault) => !namesOf(fault).some((name) => named.has(name))),
  );
  if (faults.length > 0) throw new SettingsError(faults);
  // Each value came from the parser the schema holds under its name; fromEntries forgets which.
  return values as Settings<S>;
};

/**
 * The environment with the values of a `.env` file beneath it: what the environment sets, wins.
 * A file that is not there counts as empty.
 *
 * @throws {SettingsError} when the file is there but cannot be read.
 */
export const readEnv = (env: Env, path = ".env"): Env => {
  const { parsed = {}, error } = dotenv.config({ path, quiet: true, processEnv: {} });
  if (error && error.code !== "NOT_FOUND_DOTENV_ENVIRONMENT" && error.code !== "ENOENT") {
    throw new SettingsError([`${path}: expected a readable file, got ${error.message}`]);
  }
  return { ...parsed, ...env };
};

/**
 * The number given to a command's option: a whole number from 1 to `max`.
 *
 * @throws {SettingsError}
 */
export const parseCount = (option: string, text: string, { max }: { max: number }): number => {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= max) return count;
  throw new SettingsError([
    `${option}: expected a whole number from 1 to ${max}, got ${JSON.stringify(text)}`,
  ]);
};
