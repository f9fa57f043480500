import { describe } from "../support/errors.ts";

/** A step's or workflow's result that has no JSON form, so it could not be kept. */
export class ResultError extends Error {
  readonly code = "RESULT_NOT_JSON";
  readonly canRetry = false;
  override name = "ResultError";
}

/**
 * Asserts that a result has a JSON form.
 *
 * @throws {ResultError}
 */
export const assertJson = <R>(what: string, result: R): R => {
  try {
    JSON.stringify(result);
    return result;
  } catch (error) {
    throw new ResultError(`expected a result of ${what} that JSON can hold, got ${describe(error)}`, {
      cause: error,
    });
  }
};
