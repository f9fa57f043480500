import { describeSettings } from "../support/describe-settings.ts";
import type { Schema } from "../support/settings.ts";
import { commonSchema, ownSchemaOf, type WithSettings } from "./settings.ts";

/**
 * The text of `.env.example`: the common settings, then a section for each job. Those are comments, since all jobs read
 * one `.env` and each has its own defaults.
 *
 * @param jobs each with the command that starts it
 */
export const describeJobs = (jobs: readonly (WithSettings<Schema> & { name: string; command: string })[]) =>
  [
    "# Every setting and its default. Copy to .env, or set in the environment, which wins.",
    describeSettings(commonSchema),
    ...jobs.map((job) =>
      [`# --- Job ${job.name}: ${job.command}`, describeSettings(ownSchemaOf(job), { commented: true })].join(
        "\n",
      ),
    ),
  ].join("\n\n");
