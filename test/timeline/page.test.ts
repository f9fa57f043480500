import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import type { Page } from "playwright-core";
import { chromium } from "../../bench/browser.ts";
import type { EventLine } from "../../src/timeline/event-line.ts";
import { toHtml } from "../../src/timeline/html.ts";
import { createTimeline } from "../../src/timeline/timeline.ts";
import { openPage } from "../helpers/chromium.ts";
import { event, takeoverEvents } from "./event-lines.ts";

const skip = chromium === undefined ? "no Chromium here: apt-get install chromium, or CHROMIUM_PATH" : false;

const show = async (t: TestContext, events: readonly EventLine[], title = "A run"): Promise<Page> => {
  const timeline = createTimeline();
  for (const line of events) timeline.add(line);
  const folder = await mkdtemp(join(tmpdir(), "timeline-page-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "timeline.html");
  await writeFile(path, toHtml(timeline, title));
  return openPage(t, path);
};

/** `count` records, a millisecond apart, each with one batch at one of two workers. */
const manyRecords = (count: number): EventLine[] =>
  Array.from({ length: count }, (_, i) => {
    const [id, pid, at] = [`record-${i}`, 1 + (i % 2), 1000 + i];
    const step = {
      id,
      executionId: id,
      step: "deleteBatch",
      key: `deletion/${id}/deleteBatch/0`,
      attempt: 1,
    };
    return [
      event(at, pid, "execution.started", { id, executionId: id }),
      event(at + 5, pid, "step.begun", step),
      event(at + 300, pid, "step.ended", { ...step, result: "done" }),
      event(at + 310, pid, "execution.ended", { id, executionId: id, isWhole: true, outcome: "finished" }),
    ];
  })
    .flat()
    .sort((a, b) => a.time - b.time);

const textOf = (page: Page, selector: string) =>
  page.$eval(selector, (element) => ("textContent" in element ? String(element.textContent) : ""));
const rangeOf = async (page: Page): Promise<readonly [from: number, to: number]> => {
  // Drawn once more: what was asked for is shown by then.
  await page.evaluate(
    "new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))",
  );
  const range = await page.evaluate("document.documentElement.dataset.range");
  const [from = 0, to = 0] = String(range).split(" ").map(Number);
  return [from, to];
};
/** The colour in the middle of a lane at a time, as red, green and blue. */
const pixelAt = async (page: Page, lane: number, ms: number): Promise<string> => {
  const [from, to] = await rangeOf(page);
  const pixel = await page.evaluate(`(() => {
    const canvas = document.getElementById("lanes");
    const x = 96 + (${ms} - ${from}) / (${to} - ${from}) * (canvas.clientWidth - 96 - 16);
    return canvas.getContext("2d").getImageData(x, 40 + 20 * ${lane} + 10, 1, 1).data.slice(0, 3).join(" ");
  })()`);
  return String(pixel);
};
const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });

suite("the timeline's page", { skip, concurrency: 1 }, () => {
  test("shows the run: its sum, workers in their colours, and a step's details under the pointer", async (t) => {
    const page = await show(t, takeoverEvents());
    assert.match(
      await textOf(page, "#summary"),
      /^2 records · 4 steps · 2 workers · 571 ms · 1 × kill -9 · 1 takeovers, the slowest after 300 ms$/,
    );
    // Batch 0 of record a at worker A, batch 1 at worker B; times count from the first wait, at 50.
    assert.deepEqual([await pixelAt(page, 0, 80), await pixelAt(page, 0, 418)], ["9 105 218", "130 80 223"]);
    const [from, to] = await rangeOf(page);
    const x = (ms: number) => 96 + ((ms - from) / (to - from)) * (1200 - 96 - 16);
    const top = await page.$eval("#lanes", (canvas) => canvas.getBoundingClientRect().top);
    await page.mouse.move(x(220), top + 40 + 20 + 10);
    await page.waitForSelector("#detail:not([hidden])");
    const detail = await textOf(page, "#detail");
    assert.match(
      detail,
      /record b\nrunning: deleteBatch 0\nworker A \(1-aa\)\n60 ms, from 190 ms to 250 ms\nattempt 2\ncut: /,
    );
    await page.mouse.move(x(400), top + 40 + 20 + 10);
    await page.waitForFunction("document.getElementById('detail').textContent.includes('without a worker')");
    assert.match(await textOf(page, "#detail"), /worker B took over 300 ms after the loss/);
  });

  test("filters by worker, state and id; a double click leaves one alone", async (t) => {
    const page = await show(t, manyRecords(100));
    const shown = () => textOf(page, "#shown");
    assert.equal(await shown(), "100 of 100 records");
    await button(page, "worker A").click();
    assert.equal(await shown(), "50 of 100 records");
    await button(page, "worker B").click();
    assert.equal(await shown(), "0 of 100 records");
    await button(page, "worker A").click();
    await button(page, "worker B").click();
    await button(page, "asleep").dblclick();
    assert.equal(await shown(), "0 of 100 records");
    await button(page, "asleep").dblclick();
    assert.equal(await shown(), "100 of 100 records");
    await page.locator("#search").fill("record-9");
    assert.equal(await shown(), "11 of 100 records");
  });

  test("zooms by button, key, wheel and drag, and shows all again", async (t) => {
    const page = await show(t, manyRecords(100));
    const [from, to] = await rangeOf(page);
    const whole = to - from;
    const shownShare = async () => {
      const [begin, end] = await rangeOf(page);
      return Number(((end - begin) / whole).toFixed(2));
    };
    await button(page, "+").click();
    assert.equal(await shownShare(), 0.5);
    await page.keyboard.press("+");
    assert.equal(await shownShare(), 0.25);
    const before = await rangeOf(page);
    await page.keyboard.down("Shift");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.up("Shift");
    assert.ok((await rangeOf(page))[0] > before[0]);
    await page.keyboard.press("0");
    assert.equal(await shownShare(), 1);
    await page.mouse.move(600, 400);
    await page.keyboard.down("Control");
    await page.mouse.wheel(0, -300);
    await page.keyboard.up("Control");
    assert.ok((await shownShare()) < 0.9);
    const overview = await page.$eval("#overview", (canvas) => canvas.getBoundingClientRect().top + 30);
    await page.mouse.move(300, overview);
    await page.mouse.down();
    await page.mouse.move(700, overview);
    await page.mouse.up();
    const share = await shownShare();
    assert.ok(share > 0.3 && share < 0.45, String(share));
  });

  test("is light or dark as the reader has it, and as the button says", async (t) => {
    const page = await show(t, takeoverEvents());
    const ground = () => page.evaluate("getComputedStyle(document.body).backgroundColor");
    assert.deepEqual([await ground(), await pixelAt(page, 0, 80)], ["rgb(255, 255, 255)", "9 105 218"]);
    await page.emulateMedia({ colorScheme: "dark" });
    assert.deepEqual([await ground(), await pixelAt(page, 0, 80)], ["rgb(13, 17, 23)", "88 166 255"]);
    await page.click("#theme");
    assert.deepEqual([await ground(), await pixelAt(page, 0, 80)], ["rgb(255, 255, 255)", "9 105 218"]);
    await page.keyboard.press("d");
    assert.equal(await ground(), "rgb(13, 17, 23)");
  });

  test("goes from record to record and step to step by keyboard", async (t) => {
    const page = await show(t, takeoverEvents());
    await page.keyboard.press("ArrowDown");
    assert.match(await textOf(page, "#detail"), /^record a\nqueued/);
    await page.keyboard.press("ArrowDown");
    assert.match(await textOf(page, "#detail"), /^record b\nqueued/);
    await page.keyboard.press("ArrowRight");
    assert.match(await textOf(page, "#detail"), /^record b\nrunning: deleteBatch 0/);
    await page.keyboard.press("Escape");
    assert.ok(await page.$("#detail[hidden]"));
  });

  test("shows texts from outside as they are: no markup, no script", async (t) => {
    const id = `</script><script>document.title = "broken"</script><b>&amp;`;
    const page = await show(
      t,
      [
        event(1, 1, "execution.started", { id, executionId: id }),
        event(2, 1, "step.begun", { id, executionId: id, step: "<i>step", key: "k", attempt: 1 }),
        event(9, 1, "step.retried", {
          id,
          executionId: id,
          step: "<i>step",
          key: "k",
          attempt: 1,
          error: "<img src=x>",
        }),
      ],
      `a <b>title</b> & "more"`,
    );
    assert.equal(await page.title(), `a <b>title</b> & "more"`);
    for (const key of ["ArrowDown", "ArrowRight"] as const) await page.keyboard.press(key);
    assert.ok((await textOf(page, "#detail")).startsWith(`record ${id}\nrunning: <i>step`));
    assert.deepEqual(await page.$$("img, i:not(button i), b"), []);
  });

  test("10,000 records stay usable: a scroll to the end is drawn at once, and so is a filter", async (t) => {
    const page = await show(t, manyRecords(10_000));
    assert.equal(await textOf(page, "#shown"), "10000 of 10000 records");
    const drawMs = await page.evaluate(`(async () => {
      const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
      const scroll = document.getElementById("scroll");
      const begun = performance.now();
      for (let i = 1; i <= 20; i++) {
        scroll.scrollTop = (scroll.scrollHeight * i) / 20;
        await frame();
        await frame();
      }
      return (performance.now() - begun) / 20;
    })()`);
    t.diagnostic(`${Number(drawMs).toFixed(0)} ms for a scroll and two frames`);
    assert.ok(Number(drawMs) < 500);
    const last = await page.evaluate("document.querySelectorAll('#scroll *').length");
    assert.ok(Number(last) < 10, "no element for each record");
    await page.locator("#search").fill("record-9999");
    assert.equal(await textOf(page, "#shown"), "1 of 10000 records");
  });
});
