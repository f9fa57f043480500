/** Which messages of a batch are done, and up to where without a gap: offsets are committed only so far. */
export interface CommitPrefix {
  /** Marks message `index` of the batch as done. Each at most once, in any order. */
  done(index: number): void;
  /** How many messages from the first on are done without a gap. */
  readonly length: number;
}

/** A prefix over a batch in which nothing is done yet. */
export const createCommitPrefix = (): CommitPrefix => {
  const beyondGap = new Set<number>();
  let length = 0;
  return {
    done: (index) => {
      beyondGap.add(index);
      while (beyondGap.delete(length)) length += 1;
    },
    get length() {
      return length;
    },
  };
};
