import { parseArgs } from "node:util";
import { startPayments } from "../demo/payments.ts";
import { MAX_PORT } from "../support/addresses.ts";
import { runCommand } from "../support/run-command.ts";
import { number, parseCount, parseSettings } from "../support/settings.ts";
import { aborted } from "../support/signals.ts";

const schema = {
  "--failure-rate": number(0.2, {
    expected: "a number from 0 up to, but not including, 1",
    isValid: (rate) => rate >= 0 && rate < 1,
    about: "Share of charges that are answered with status 500.",
  }),
};

const HELP = `npm run payments [-- --port <port> --failure-rate <share>]

A payment service for the orders job, which fails now and then.`;

await runCommand(
  async (signal) => {
    const options = {
      port: { type: "string", default: "8090" },
      "failure-rate": { type: "string" },
    } as const;
    const { values } = parseArgs({ options });
    const { "--failure-rate": failureRate } = parseSettings(schema, {
      "--failure-rate": values["failure-rate"],
    });
    const port = parseCount("--port", values.port, { max: MAX_PORT });
    await using payments = await startPayments({ port, failureRate, random: Math.random });
    console.log(
      `Payment service at ${payments.url}, in memory, failing ${failureRate * 100} %. Ctrl-C ends it.`,
    );
    await aborted(signal);
  },
  { help: HELP },
);
