/**
 * The lines of a text that comes in pieces, each once it is whole. A piece is looked at once, however long its line.
 *
 * @throws an error when a line is longer than `maxLength` characters
 */
export async function* readLines(pieces: AsyncIterable<string>, maxLength: number): AsyncGenerator<string> {
  let begun: string[] = [];
  let length = 0;
  for await (const piece of pieces) {
    const [first = "", ...others] = piece.split("\n");
    begun.push(first);
    length += first.length;
    if (length > maxLength)
      throw new Error(`expected lines of at most ${maxLength} characters, got a longer one`);
    const last = others.pop();
    if (last === undefined) continue;
    yield begun.join("");
    yield* others;
    begun = [last];
    length = last.length;
  }
}
