import { findListener } from "./proc.ts";

/** What works on a record, each a process of this machine and its descendants. */
export const PARTS = ["worker", "engine", "database", "broker"] as const;
export type Part = (typeof PARTS)[number];

const DEFAULT_PORTS: Readonly<Record<string, number>> = { "http:": 80, "https:": 443, "postgres:": 5432 };

const portOf = (url: string): number => {
  const { port, protocol } = new URL(url);
  return Number(port) || (DEFAULT_PORTS[protocol] ?? 0);
};

/**
 * The processes of the parts: the engine listens at `resonateUrl`, its database at BENCH_DATABASE_PORT, where that is
 * set. A part that is within another one's process, or not on this machine, has none.
 */
export const findParts = (
  worker: number,
  { resonateUrl, broker }: { readonly resonateUrl: string; readonly broker: string },
): ReadonlyMap<Part, number> => {
  const database = process.env.BENCH_DATABASE_PORT;
  const found: readonly (readonly [Part, number | undefined])[] = [
    ["worker", worker],
    ["engine", findListener(portOf(resonateUrl))],
    ["database", database ? findListener(Number(database)) : undefined],
    ["broker", findListener(portOf(`kafka://${broker}`))],
  ];
  const parts = new Map<Part, number>();
  for (const [part, pid] of found)
    if (pid !== undefined && ![...parts.values()].includes(pid)) parts.set(part, pid);
  return parts;
};
