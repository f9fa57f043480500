import { writeFileSync } from "node:fs";
import { Session } from "node:inspector/promises";

/** Between two samples, in microseconds. */
const INTERVAL_US = 200;

// Loaded before a program that is to be profiled: SIGUSR2 begins the profile, a second one writes it to PROFILE_FILE.
const session = new Session();
session.connect();
await session.post("Profiler.enable");
await session.post("Profiler.setSamplingInterval", { interval: INTERVAL_US });
process.once("SIGUSR2", async () => {
  await session.post("Profiler.start");
  process.once("SIGUSR2", async () => {
    const { profile } = await session.post("Profiler.stop");
    writeFileSync(process.env.PROFILE_FILE ?? "", JSON.stringify(profile));
  });
});
