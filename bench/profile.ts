/** What is read of a processor profile of V8. Times are in microseconds. */
export interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string };
    readonly children?: readonly number[];
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/**
 * How busy time is shared, by name from 0 to 1: a sample counts for the first of `parts` that matches the file of any
 * function on its stack. The collection of garbage is in the whole, and in no part.
 */
export const sharesOf = <P extends string>(
  { nodes, samples, timeDeltas }: Profile,
  parts: Readonly<Record<P, RegExp>>,
): Record<P, number> => {
  const names = Object.keys(parts) as P[];
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const callers = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id])));
  const filesOf = (id: number | undefined): string[] => {
    const files: string[] = [];
    for (let at = id; at !== undefined; at = callers.get(at)) files.push(byId.get(at)?.callFrame.url ?? "");
    return files;
  };
  const partOf = new Map(
    nodes.map(({ id }) => {
      const files = filesOf(id);
      return [id, names.find((name) => files.some((file) => parts[name].test(file)))];
    }),
  );
  const times = new Map<P, number>();
  let busy = 0;
  for (const [i, id] of samples.entries()) {
    const own = timeDeltas[i] ?? 0;
    if (byId.get(id)?.callFrame.functionName === "(idle)") continue;
    busy += own;
    const part = partOf.get(id);
    if (part !== undefined) times.set(part, (times.get(part) ?? 0) + own);
  }
  return Object.fromEntries(names.map((name) => [name, (times.get(name) ?? 0) / busy])) as Record<P, number>;
};
