import { existsSync } from "node:fs";
import type { TestContext } from "node:test";
import { type Page, chromium as playwright } from "playwright-core";

const CANDIDATES = [
  process.env.CHROMIUM_PATH ?? "",
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
];

/** The browser of this machine, if there is one. */
export const chromium = CANDIDATES.find((path) => path !== "" && existsSync(path));

/** Opens a file in a browser of its own; an error or a request of the page fails the test. */
export const openPage = async (t: TestContext, path: string): Promise<Page> => {
  const browser = await playwright.launch({
    executablePath: chromium ?? "",
    // Root has no sandbox, and a container little shared memory.
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
  });
  t.after(() => browser.close());
  const page = await browser.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") faults.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith("file:")) faults.push(`a request to ${request.url()}`);
  });
  t.after(() => {
    if (faults.length > 0) throw new Error(`expected a page without faults, got ${faults.join("; ")}`);
  });
  await page.setViewportSize({ width: 1200, height: 640 });
  await page.goto(`file://${path}`);
  await page.waitForFunction("document.documentElement.dataset.range !== undefined");
  return page;
};
