import { open } from "node:fs/promises";
import { type EventLine, parseEventLine } from "./event-line.ts";
import { createTimeline, type Timeline } from "./timeline.ts";

/** Files in which there is nothing to draw. No retry helps. */
class NoEventsError extends Error {
  readonly code = "NO_EVENTS";
  readonly canRetry = false;
  override name = "NoEventsError";
}

/**
 * Reads the events in files: those of EVENTS_FILE, or logs that hold them among other lines.
 *
 * @throws {NoEventsError}
 */
export const readEvents = async (paths: readonly string[]): Promise<Timeline> => {
  const events: EventLine[] = [];
  for (const path of paths) {
    await using file = await open(path);
    for await (const line of file.readLines()) {
      const event = parseEventLine(line);
      if (event !== undefined) events.push(event);
    }
  }
  if (events.length === 0) {
    throw new NoEventsError(
      `expected events in ${paths.join(", ")}, got none: a worker writes them where EVENTS_FILE says`,
    );
  }
  const timeline = createTimeline();
  // Each worker's events are in order in its own file.
  for (const event of events.sort((a, b) => a.time - b.time)) timeline.add(event);
  return timeline;
};
