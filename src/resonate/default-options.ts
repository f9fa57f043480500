import type { Context } from "@resonatehq/sdk";

type Options = ReturnType<Context["options"]>;

/**
 * Makes options once, as the defaults of all calls of `owner`, a client or the context of an execution.
 *
 * Works around @resonatehq/sdk 0.11.5, which makes its own defaults anew for each call, whatever the call says itself,
 * and tries to read their target as a URL: the error that it throws and catches for that was a tenth of the work of
 * starting an execution. Can go once the SDK's defaults cost nothing.
 */
export const setDefaultOptions = (
  owner: Pick<Context, "options">,
  own: Partial<Omit<Options, "id">>,
): void => {
  const defaults = owner.options(own);
  owner.options = (others) => ({ ...defaults, ...others });
};
