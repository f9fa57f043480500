import { styleText } from "node:util";
import { visible } from "../support/visible.ts";
import type { Elsewhere } from "../worker/service.ts";
import type { Status } from "./status.ts";
import { count, duration, toColumns } from "./text.ts";

/** The answer to "is it done", in one line. */
const verdict = ({ isDone, lag, inFlight, asleep, members, deadLetters }: Status): string => {
  const dead = Object.values(deadLetters.waiting).reduce((sum, n) => sum + n, 0);
  if (isDone) {
    const done = styleText("green", "done: every message was read, and no execution is in flight");
    return dead === 0 ? done : `${done}, ${styleText("red", `but there are ${count(dead, "dead letter")}`)}`;
  }
  const parts = [
    lag === 0 ? "every message was read" : `${count(lag, "message")} unread`,
    `${count(inFlight, "execution")} in flight`,
    ...(asleep === 0 ? [] : [`${asleep === inFlight ? "all" : asleep} of them asleep`]),
  ];
  const idle = members.length === 0 ? " No worker reads messages." : "";
  return styleText("yellow", `not done: ${parts.join(", ")}.${idle}`);
};

const toWarnings = (status: Status): string[] => {
  const { partitions, threatened, retentionMs, elsewhere } = status;
  const need = ({ needs, count: n }: Elsewhere) =>
    "group" in needs
      ? `${count(n, "execution")} in worker group ${needs.group}: a worker with RESONATE_GROUP=${needs.group} finishes them`
      : `${count(n, "execution")} of version ${needs.version} of the workflow, for a worker that has it`;
  return [
    ...threatened.map(
      (partition) =>
        `partition ${partition}: the oldest unread message is past half of the topic's retention (${duration(retentionMs ?? 0)}), after which it is lost`,
    ),
    ...partitions
      .filter(({ lost }) => lost > 0)
      .map(({ partition, lost }) => `partition ${partition}: ${count(lost, "message")} removed unread`),
    ...elsewhere.map((one) => `waiting elsewhere: ${need(one)}`),
  ];
};

/** How a service is doing, as lines for a reader. */
export const statusLines = (status: Status): string[] => {
  const { at, service, group, partitions, members, deadLetters, completions, nextWakeAt, oldestSince } =
    status;
  const now = Date.parse(at);
  const workerOf = (partition: number) =>
    members.find((member) => member.partitions.includes(partition))?.worker ?? "";
  const table = toColumns([
    ["partition", "lag", "oldest unread", "worker"],
    ...partitions.map(({ partition, lag, oldestUnread }) => [
      String(partition),
      String(lag),
      oldestUnread ? `${duration(oldestUnread.ageMs)} (offset ${oldestUnread.offset})` : "",
      workerOf(partition),
    ]),
  ]);
  const letters = Object.entries(deadLetters.waiting).map(([reason, n]) => `${n} ${reason}`);
  const more = [
    deadLetters.drivenAgain > 0 ? `${deadLetters.drivenAgain} driven again` : [],
    deadLetters.unread > 0 ? `${deadLetters.unread} older ones not looked at` : [],
  ].flat();
  const flight = [
    count(status.inFlight, "execution"),
    oldestSince === undefined ? [] : `the oldest for ${duration(now - Date.parse(oldestSince))}`,
    nextWakeAt === undefined
      ? []
      : `${status.asleep} asleep, next wake-up in ${duration(Math.max(0, Date.parse(nextWakeAt) - now))}`,
  ].flat();
  return [
    `${visible(service)}: ${verdict(status)}`,
    ...toWarnings(status).map((line) => styleText("red", visible(line))),
    ...table,
    ...toColumns([
      ["members", `${count(members.length, "worker")} in consumer group ${group}`],
      ["in flight", flight.join(", ")],
      ["completions", String(completions)],
      ["dead letters", `${letters.join(", ") || "none"}${more.length === 0 ? "" : ` (${more.join(", ")})`}`],
    ]),
  ];
};
