import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Machine } from "./machine.ts";
import type { Measurement, Outcome, Table } from "./measurement.ts";
import { drawPlot } from "./plot.ts";

/** One measurement and what it found. */
export interface Result {
  readonly measurement: Measurement;
  readonly outcome: Outcome;
}

export interface Report {
  readonly date: Date;
  readonly seconds: number;
  readonly quick: boolean;
  readonly machine: Machine;
  readonly results: readonly Result[];
}

const toRow = (cells: readonly (string | number)[]) => `| ${cells.join(" | ")} |`;

const toTable = ({ head, rows }: Table) =>
  [toRow(head), toRow(head.map(() => "---")), ...rows.map(toRow)].join("\n");

const toSection = ({ measurement, outcome }: Result) =>
  [
    `## ${measurement.title}`,
    measurement.method,
    toTable({
      head: ["", "bound", "measured"],
      rows: outcome.findings.map(({ claim, holds, seen }) => [holds ? "holds" : "**fails**", claim, seen]),
    }),
    ...outcome.tables.map(toTable),
    ...outcome.plots.map(({ file, title }) => `![${title}](${file}.svg)`),
    ...outcome.notes,
  ].join("\n\n");

const toMarkdown = ({ date, seconds, quick, machine, results }: Report) =>
  [
    "# Benchmark",
    ...(quick ? ["**A quick run: sizes are small and the numbers mean nothing.**"] : []),
    `Written by \`npm run bench\` on ${date.toISOString().slice(0, 10)} in ${Math.round(seconds)} s. A value is the median, what follows it in parentheses the least and the most.`,
    toTable({
      head: ["", ""],
      rows: [
        ["processor", `${machine.cpu}, ${machine.cores} cores`],
        ["memory", `${machine.memoryGib} GiB`],
        ["system", machine.system],
        ["versions", `Node ${machine.node}, @resonatehq/sdk ${machine.sdk}, kafkajs ${machine.kafkajs}`],
        ["broker and server", machine.stack],
        ["commit", machine.commit],
        ["load of others before the run", machine.loadBefore.toFixed(1)],
      ],
    }),
    ...results.map(toSection),
    "",
  ].join("\n\n");

/** Writes `report.md` and its plots to `folder`, and all samples to `resultsFile`. */
export const writeReport = (
  report: Report,
  { folder, resultsFile }: { folder: string; resultsFile: string },
): void => {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "report.md"), toMarkdown(report));
  for (const { outcome } of report.results)
    for (const plot of outcome.plots) writeFileSync(join(folder, `${plot.file}.svg`), drawPlot(plot));

  const { date, seconds, quick, machine, results } = report;
  const measurements = results.map(({ measurement: { name, method }, outcome: { findings, samples } }) => ({
    name,
    method,
    findings,
    samples,
  }));
  writeFileSync(resultsFile, `${JSON.stringify({ date, seconds, quick, machine, measurements }, null, 1)}\n`);
};
