import { types } from "node:util";

/** A workflow has `yield` where it needs `yield*`. */
class MissingStarError extends Error {
  readonly code = "MISSING_STAR";
  readonly canRetry = false;
  override name = "MissingStarError";
}

/**
 * Runs a workflow, and throws in it where its `yield*` lacks the star. The type checker does not notice that, and the SDK
 * (0.11.5) would hand the execution back again and again, with words that do not say why.
 */
export function* withStars<R>(flow: Generator<unknown, R, unknown>): Generator<unknown, R, unknown> {
  let goOn = () => flow.next(undefined);
  for (;;) {
    const { done, value } = goOn();
    if (done) return value;
    if (types.isGeneratorObject(value)) {
      const error = new MissingStarError(
        "expected `yield*` before a call of the workflow's context, got `yield`",
      );
      goOn = () => flow.throw(error);
      continue;
    }
    try {
      const result = yield value;
      goOn = () => flow.next(result);
    } catch (error) {
      goOn = () => flow.throw(error);
    }
  }
}
