import type { TestContext } from "node:test";
import type { Page } from "playwright-core";
import { startBrowser } from "../../bench/browser.ts";

/** Opens a file in a browser of its own; an error or a request of the page fails the test. */
export const openPage = async (t: TestContext, path: string): Promise<Page> => {
  const browser = await startBrowser();
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
