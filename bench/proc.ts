import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Linux counts processor time in ticks of a hundredth of a second, whatever the kernel's own rate. */
const TICKS_PER_SECOND = 100;

/** The fields of /proc/<pid>/stat from the third on. */
const statOf = (pid: number): string[] =>
  // The second field, the name, is in parentheses and may hold blanks.
  readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");

/** Seconds of processor time a process has taken, from Linux's /proc. */
export const cpuSecondsOf = (pid: number): number => {
  const fields = statOf(pid);
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
};

/** What `read` gives, or `undefined` where the process has ended or is another user's. */
const ifThere = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch {
    return;
  }
};

const listPids = (): number[] => readdirSync("/proc").map(Number).filter(Number.isInteger);

/** Seconds of processor time that a process and all its descendants have taken, those that have ended included. */
export const treeCpuSecondsOf = (root: number): number => {
  const fields = new Map(listPids().map((pid) => [pid, ifThere(() => statOf(pid)) ?? []]));
  const ticksOf = (pid: number): number => {
    const own = (fields.get(pid) ?? []).slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0);
    const children = [...fields.keys()].filter((child) => Number(fields.get(child)?.[1]) === pid);
    return children.reduce((sum, child) => sum + ticksOf(child), own);
  };
  return ticksOf(root) / TICKS_PER_SECOND;
};

/** The most memory a process has had at once, in MiB, from Linux's /proc. */
export const peakMemoryOf = (pid: number): number =>
  Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

/** The state of a socket that listens, in /proc/net/tcp. */
const LISTENING = "0A";

/** The process of this machine that listens at a TCP port, as far as this user may see. */
export const findListener = (port: number): number | undefined => {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const lines = ["tcp", "tcp6"].flatMap((name) => readFileSync(`/proc/net/${name}`, "utf8").split("\n"));
  const sockets = lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([, address, , state]) => address?.endsWith(`:${hex}`) && state === LISTENING)
    .map((fields) => `socket:[${fields[9]}]`);
  return listPids().find((pid) =>
    ifThere(() => readdirSync(`/proc/${pid}/fd`))?.some((fd) =>
      sockets.includes(ifThere(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? ""),
    ),
  );
};
