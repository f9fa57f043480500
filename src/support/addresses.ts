import type { Setting } from "./settings.ts";

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
  expected: "a port from 0 to 65535, or nothing",
  about,
  parse: (text) => {
    if (text === "") return "";
    return /^\d{1,5}$/.test(text) && Number(text) <= 65_535 ? Number(text) : undefined;
  },
});
