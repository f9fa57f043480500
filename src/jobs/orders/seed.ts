import { randomUUID } from "node:crypto";
import type { SeedMessage } from "../../worker/job.ts";

/** Makes `count` orders of 1 to 100, in whole cents. */
export const seed = ({ count, random }: { count: number; random: () => number }): SeedMessage[] =>
  Array.from({ length: count }, () => {
    const orderId = randomUUID();
    const amount = (100 + Math.floor(random() * 9901)) / 100;
    return {
      key: orderId,
      value: JSON.stringify({ orderId, amount }),
      about: `order ${orderId} of ${amount}`,
    };
  });
