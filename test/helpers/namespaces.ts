import { type Namespaces, openNamespaces } from "../../src/demo/namespaces.ts";
import { describe } from "../../src/support/errors.ts";

/** Network namespaces on a subnet of this process's own, or why there are none. */
export const tryNamespaces = async (): Promise<Namespaces | string> => {
  try {
    return await openNamespaces(`198.19.${process.pid % 256}`);
  } catch (error) {
    return describe(error);
  }
};
