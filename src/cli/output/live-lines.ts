/** Progress on a terminal: what is going on now, redrawn in place below what is done. */
import type { ProgressLines, ProgressTarget } from "./progress-lines.ts";
import { describeMeasure, type StepTrack } from "./step-track.ts";
import { printable, truncate } from "./text.ts";
import { formatSeconds } from "./time.ts";

const spinner = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const frameMs = 100;
const eraseToEndOfLine = "\u001B[K";
const eraseBelow = "\u001B[0J";

export function createLiveLines(target: ProgressTarget): ProgressLines {
  const { style } = target;
  let drawn = 0;
  // To the first column too: the terminal echoes ^C where the cursor stands.
  const toTop = (): string => (drawn === 0 ? "" : `\r\u001B[${drawn}A`);
  const clear = (): void => {
    if (drawn > 0) target.write(toTop() + eraseBelow);
    drawn = 0;
  };

  function render(track: StepTrack, mark: string, columns: number): string[] {
    const measure = describeMeasure(track, { bar: columns >= 70 }) || soFar(track);
    const seen = `${printable(track.step.title)}  ${measure}`.trimEnd();
    const { logPath } = track.step;
    const log = logPath === undefined ? [] : [style.dim(truncate(`    log: ${printable(logPath)}`, columns))];
    return [`${mark} ${truncate(seen, columns - 2)}`, ...log];
  }

  return {
    permanent(line) {
      clear();
      target.write(`${line}\n`);
    },
    tick(tracks) {
      // One column less: a full line would wrap, and then the next drawing would miscount.
      const columns = Math.max(20, target.columns() - 1);
      const frame = Math.floor(performance.now() / frameMs) % spinner.length;
      const mark = style.cyan(spinner[frame] ?? "");
      const lines = tracks.flatMap((track) => render(track, mark, columns));
      if (lines.length === 0 && drawn === 0) return;
      // In one write and over the old text, so that no empty line is ever seen.
      target.write(toTop() + lines.map((line) => `${line}${eraseToEndOfLine}\n`).join("") + eraseBelow);
      drawn = lines.length;
    },
    clear,
  };
}

/** How long a step without a measure has been going on; nothing for the first moment. */
function soFar(track: StepTrack): string {
  const elapsedMs = performance.now() - track.heardMs;
  return elapsedMs < 1000 ? "" : formatSeconds(Math.floor(elapsedMs / 1000) * 1000);
}
