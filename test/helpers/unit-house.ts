import { isBuiltin } from "node:module";
import { posix } from "node:path";

/** Source files by path from the root, with `/`. */
export type Sources = ReadonlyMap<string, string>;

interface Import {
  readonly from: string;
  /** A path from the root, or the name of a package or built-in. */
  readonly to: string;
  readonly isTypeOnly: boolean;
}

/** What each folder may import beside itself. What is not named here stands in no folder of the house. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  bin: ["*"],
  demo: ["jobs", "worker", "kafka", "resonate", "support", "stack", "crash-test", "timeline"],
  "crash-test": ["jobs", "worker", "kafka", "resonate", "support", "stack"],
  jobs: ["worker/job.ts", "support"],
  worker: ["kafka", "resonate", "support"],
  operate: ["worker", "kafka", "resonate", "support"],
  observe: ["worker/telemetry.ts", "support"],
  timeline: ["support"],
  kafka: ["support"],
  resonate: ["support"],
  support: [],
  stack: ["support"],
};

/** The files of jobs that say how their job is crash-tested, and the one that finds them. */
const isCrashTest = (path: string): boolean => /^src\/jobs\/([^/]+\/crash-test|load-job)\.ts$/.test(path);

const readImports = (from: string, source: string): Import[] => {
  const found = [
    ...source.matchAll(/(?:^|[\s;}])(import|export)\b([^"'`;]*?)(?:\bfrom\s*|\(\s*)?["']([^"'\n]+)["']/g),
  ];
  return found.flatMap(([, word, clause = "", specifier = ""]) => {
    if (word === "export" && !/[*}]\s*(?:as\s+\w+\s+)?from\s*$/.test(`${clause}from `)) return [];
    const to = specifier.startsWith(".") ? posix.join(posix.dirname(from), specifier) : specifier;
    return [{ from, to, isTypeOnly: /^\s*type\b/.test(clause) }];
  });
};

/** A folder of the house, or one job: jobs do not know each other. */
const roomOf = (path: string): string => {
  const [, folder = "", own = "", ...rest] = path.split("/");
  return folder === "jobs" && rest.length > 0 ? `jobs/${own}` : folder;
};

const judgeImport = ({ from, to }: Import): string | undefined => {
  if (!to.startsWith("src/"))
    return to.includes("/test/") || to.startsWith("test/") ? "not part of src" : undefined;
  const [room, target] = [roomOf(from), roomOf(to)];
  if (room === target) return;
  const [folder = "", targetFolder] = [room.split("/")[0], target.split("/")[0]];
  const allowed = MAY_IMPORT[folder] ?? [];
  if (allowed.includes("*") || allowed.some((own) => to === `src/${own}` || to.startsWith(`src/${own}/`)))
    return;
  if (targetFolder === "crash-test" && isCrashTest(from)) return;
  return `${folder} may import ${allowed.join(", ") || "nothing of ours"}`;
};

/** The files of each circle of imports, from one on and back to it. */
const findCircles = (edges: ReadonlyMap<string, readonly string[]>): string[][] => {
  const circles: string[][] = [];
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]) => {
    const at = path.indexOf(file);
    if (at >= 0) circles.push([...path.slice(at), file]);
    if (at >= 0 || done.has(file)) return;
    for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of edges.keys()) visit(file, []);
  return circles;
};

/** What stands in the sources against the rules of the house, one line each. */
export const checkHouse = (sources: Sources): string[] => {
  const imports = [...sources].flatMap(([path, source]) => readImports(path, source));
  const faults: string[] = [];
  for (const path of sources.keys()) {
    if (MAY_IMPORT[path.split("/")[1] ?? ""] === undefined)
      faults.push(`${path}: stands in no folder of the house`);
    if (/^src\/jobs\/[^/]+$/.test(path) && path !== "src/jobs/load-job.ts")
      faults.push(`${path}: beside jobs there is load-job.ts alone`);
  }
  for (const one of imports) {
    const fault = judgeImport(one);
    if (fault !== undefined) faults.push(`${one.from} imports ${one.to}: ${fault}`);
    if (one.to.startsWith("src/") && !sources.has(one.to))
      faults.push(`${one.from} imports ${one.to}: no such file`);
  }

  const edgesOf = (own: readonly Import[]) => {
    const byFile = Map.groupBy(own, ({ from }) => from);
    return new Map([...byFile].map(([from, all]) => [from, all.map(({ to }) => to)]));
  };
  for (const circle of findCircles(edgesOf(imports))) faults.push(`circle: ${circle.join(" → ")}`);

  // What a workflow loads, itself or through others: types are gone by then.
  const loaded = edgesOf(imports.filter(({ isTypeOnly }) => !isTypeOnly));
  for (const workflow of sources.keys()) {
    if (!/^src\/jobs\/[^/]+\/workflow\.ts$/.test(workflow)) continue;
    const seen = new Set([workflow]);
    for (const file of seen) {
      for (const to of loaded.get(file) ?? []) {
        if (to.startsWith("src/")) seen.add(to);
        else
          faults.push(
            `${workflow} loads ${isBuiltin(to) ? "the built-in" : "the package"} ${to}: it only orders steps`,
          );
      }
    }
  }
  return faults;
};
