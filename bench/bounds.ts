/** What is aimed at, beside the figure. */
export type Bound = { atLeast: number } | { atMost: number };

/** The heading of a table of `boundRow`s. */
export const boundHeading = ["what is aimed at", "measured", "aim", "reached"] as const;

/** `format` gives both figures their unit. What could not be measured (`NaN`) is not reached. */
export function boundRow(
  what: string,
  measured: number,
  bound: Bound,
  format: (value: number) => string = (value) => value.toFixed(2),
): string[] {
  const [isReached, aim] =
    "atLeast" in bound
      ? [measured >= bound.atLeast, `at least ${format(bound.atLeast)}`]
      : [measured <= bound.atMost, `at most ${format(bound.atMost)}`];
  return [what, format(measured), aim, isReached ? "yes" : "no"];
}
