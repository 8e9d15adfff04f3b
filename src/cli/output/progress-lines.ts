/** What the ways to show progress have in common: live lines on a terminal, plain ones elsewhere. */
import type { StepTrack } from "./step-track.ts";
import type { Style } from "./style.ts";

export interface ProgressTarget {
  write(text: string): void;
  /** Redraws lines in place; false prints each line once. */
  live: boolean;
  columns(): number;
  style: Style;
}

/** A way to show what is going on. */
export interface ProgressLines {
  permanent(line: string): void;
  /** Shows the innermost step of each group as it is now. */
  tick(tracks: readonly StepTrack[]): void;
  clear(): void;
}
