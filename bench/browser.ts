import { existsSync } from "node:fs";
import { type Browser, chromium as playwright } from "playwright-core";

const CANDIDATES = [
  process.env.CHROMIUM_PATH ?? "",
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
];

/** The Chromium of this machine, if there is one: CHROMIUM_PATH, or where distributions install it. */
export const chromium = CANDIDATES.find((path) => path !== "" && existsSync(path));

/** Starts it without a window. */
export const startBrowser = (): Promise<Browser> => {
  if (chromium === undefined)
    throw new Error("expected Chromium, got none: apt-get install chromium, or CHROMIUM_PATH");
  // Root has no sandbox, and a container little shared memory.
  const args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];
  return playwright.launch({ executablePath: chromium, args });
};
