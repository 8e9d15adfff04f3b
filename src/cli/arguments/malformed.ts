import { InvalidArgumentError } from "../../errors/index.ts";

/** What was wrong, a hint, examples: the same three for every option type. */
export function malformed(
  option: string,
  text: string,
  what: string,
  hint: string,
  examples: readonly string[],
): InvalidArgumentError {
  return new InvalidArgumentError(option, `${option}: ${JSON.stringify(text)} is not ${what}`, {
    hint: `${hint}, for example ${examples.join(", ")}`,
  });
}
