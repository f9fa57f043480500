/** Waits before what has come so far is done. */
type Wait = (done: () => void) => void;

export interface TogetherOptions {
  /** How long further items may join the first one. */
  readonly wait: Wait;
  /** Whether a failure of all may be that of one of them. */
  readonly isOnes?: (error: unknown) => boolean;
}

interface Waiting<In, Out> {
  readonly item: In;
  readonly resolve: (result: Out) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Does what is asked for at about the same time in one go. If that fails, each is done alone, and fails alone.
 *
 * @param work gives a result for each item, in their order
 */
export const doTogether = <In, Out>(
  work: (items: readonly In[]) => Promise<readonly Out[]>,
  { wait, isOnes = () => true }: TogetherOptions,
): ((item: In) => Promise<Out>) => {
  let waiting: Waiting<In, Out>[] = [];

  const settle = async (all: readonly Waiting<In, Out>[]): Promise<void> => {
    try {
      const results = await work(all.map(({ item }) => item));
      for (const [index, result] of results.entries()) all[index]?.resolve(result);
    } catch (error) {
      if (all.length > 1 && isOnes(error)) for (const one of all) void settle([one]);
      else for (const { reject } of all) reject(error);
    }
  };
  const begin = () => {
    const all = waiting;
    waiting = [];
    void settle(all);
  };

  return (item) => {
    const { promise, resolve, reject } = Promise.withResolvers<Out>();
    if (waiting.push({ item, resolve, reject }) === 1) wait(begin);
    return promise;
  };
};
