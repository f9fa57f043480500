import { existsSync, readFileSync } from "node:fs";
import { type Postgres, skipPostgres } from "./postgres.ts";

/** The schema of resonatehq/resonate-pg: its file resonate.sql, which is not part of this repository. */
const schema = process.env.RESONATE_PG_SQL ?? "";

/** Why tests of executions in Postgres are skipped, or `false` where they can run. */
export const skipExecutions: string | false =
  skipPostgres ||
  (!existsSync(schema) && "needs RESONATE_PG_SQL, the path of resonate.sql of resonatehq/resonate-pg");

/** Makes a database with the schema, which its user owns; gives back its URL. */
export const createExecutions = async (server: Postgres): Promise<string> => {
  const url = await server.createDatabase();
  const { username } = new URL(url);
  // The file makes a role.
  await server.query(
    url,
    `ALTER ROLE ${username} CREATEROLE; SET ROLE ${username}; ${readFileSync(schema, "utf8")}`,
  );
  return url;
};
