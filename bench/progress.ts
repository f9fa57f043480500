/** Says on one line of a terminal, or line by line elsewhere, how far a long run is. */
export interface Progress {
  /** `share` is 0 to 1. */
  show(share: number, what: string): void;
  /** Ends the line. */
  end(): void;
}

const WIDTH = 30;

export const createProgress = (stream: NodeJS.WriteStream = process.stderr): Progress => {
  const began = Date.now();
  let last = "";
  return {
    show: (share, what) => {
      const full = Math.round(Math.min(1, share) * WIDTH);
      const seconds = Math.round((Date.now() - began) / 1000);
      const bar = `${"█".repeat(full)}${"░".repeat(WIDTH - full)}`;
      const line = `${bar} ${String(Math.round(100 * share)).padStart(3)} %  ${String(seconds).padStart(3)} s  ${what}`;
      if (stream.isTTY) stream.write(`\r\u001b[2K${line.slice(0, stream.columns - 1)}`);
      else if (what !== last) stream.write(`${line}\n`);
      last = what;
    },
    end: () => {
      if (stream.isTTY) stream.write("\r\u001b[2K");
    },
  };
};
