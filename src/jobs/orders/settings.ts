import { httpUrl, integer } from "../../support/settings.ts";

/** The settings of the orders alone. */
export const settings = {
  PAYMENT_URL: httpUrl("http://localhost:8090", "The payment service."),
  SHIP_DELAY_MS: integer(10_000, {
    min: 0,
    max: 365 * 24 * 3_600_000,
    unit: "milliseconds",
    about: "Durable sleep between the charge and the shipment, in milliseconds.",
  }),
};
