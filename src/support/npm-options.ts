import { type Env, SettingsError } from "./settings.ts";

/**
 * Refuses a command whose options npm took for its own, since no `--` stood before them: it would do more than it was
 * asked to. npm tells a script what it took by its environment.
 *
 * @param values the command's options by name; one that it was not given is empty, false or undefined
 * @throws {SettingsError}
 */
export const assertNotTaken = (
  command: string,
  values: Readonly<Record<string, string | boolean | undefined>>,
  env: Env,
): void => {
  const taken = Object.entries(values)
    .filter(
      ([name, value]) => !value && !/^(false)?$/.test(env[`npm_config_${name.replaceAll("-", "_")}`] ?? ""),
    )
    .map(([name]) => `--${name}`);
  if (taken.length === 0) return;
  throw new SettingsError([
    `npm took ${taken.join(" and ")} for its own: expected 'npm run ${command} -- ${taken.join(" ")}', with '--' before the options`,
  ]);
};
