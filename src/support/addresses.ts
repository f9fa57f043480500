import type { Setting } from "./settings.ts";

/** The greatest port of TCP. */
export const MAX_PORT = 65_535;

/** A host name or IP address. */
export const host = (fallback: string, about: string): Setting<string> => ({
  fallback,
  expected: "a host name or IP address",
  about,
  parse: (text) => (/^[\w.:-]{1,253}$/.test(text) ? text : undefined),
});

/** A TCP port, 0 for a free one, or nothing. */
export const optionalPort = (about: string): Setting<number | ""> => ({
  fallback: "",
  expected: `a port from 0 to ${MAX_PORT}, or nothing`,
  about,
  parse: (text) => {
    if (text === "") return "";
    return /^\d{1,5}$/.test(text) && Number(text) <= MAX_PORT ? Number(text) : undefined;
  },
});
