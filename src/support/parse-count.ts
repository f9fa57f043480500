import { ConfigError } from "../worker/settings.ts";

/**
 * The number given to a command's option: a whole number from 1 to `max`.
 *
 * @throws {ConfigError}
 */
export const parseCount = (option: string, text: string, { max }: { max: number }): number => {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= max) return count;
  throw new ConfigError([`${option}: expected a whole number from 1 to ${max}, got ${JSON.stringify(text)}`]);
};
