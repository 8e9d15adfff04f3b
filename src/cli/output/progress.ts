/** Steps of a long work on stderr: live on a terminal, a line each otherwise. */
import type { Step } from "../../sdk/index.ts";
import { describeMeasure, type StepTrack, trackStep } from "./step-line.ts";
import type { Style } from "./style.ts";
import { printable, truncate } from "./text.ts";
import { coarse, formatSpan } from "./time.ts";

export interface Progress {
  onStep(step: Step): void;
  onWarning(message: string): void;
  /** Takes the live lines away; steps that are not done are shown as broken off when `failed`. */
  finish(outcome?: "done" | "failed"): void;
  /** A line of its own above the live ones. */
  note(line: string): void;
  /** Since the work began. */
  elapsedMs(): number;
}

export interface ProgressTarget {
  write(text: string): void;
  /** Redraws lines in place; false prints each line once. */
  live: boolean;
  columns(): number;
  style: Style;
}

const spinner = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const redrawMs = 100;
/** Without a terminal a step is only announced when it lasts, and then told of now and again. */
const announceAfterMs = 2000;
const tellEveryMs = 10_000;

export function createProgress(target: ProgressTarget): Progress {
  const { style } = target;
  const tracks = new Map<string, StepTrack>();
  const startedMs = performance.now();
  const draw = target.live ? createLiveLines(target) : createPlainLines(target);
  const timer = setInterval(() => draw.tick([...tracks.values()]), redrawMs);
  timer.unref();
  const end = (track: StepTrack, mark: string, tookMs: number): void => {
    tracks.delete(track.step.id);
    const took = formatSpan(Math.max(0, tookMs));
    draw.permanent(`${mark} ${printable(track.step.title)}  ${style.dim(took)}`);
  };
  return {
    onStep(step: Step) {
      const track = trackStep(tracks.get(step.id), step, performance.now());
      tracks.set(step.id, track);
      if (step.state === "done") end(track, style.green("✓"), step.elapsedMs - track.beganMs);
      draw.tick([...tracks.values()]);
    },
    onWarning(message) {
      draw.permanent(`${style.yellow("warning:")} ${printable(message)}`);
      draw.tick([...tracks.values()]);
    },
    note(line) {
      draw.permanent(line);
      draw.tick([...tracks.values()]);
    },
    finish(outcome = "done") {
      clearInterval(timer);
      draw.clear();
      if (outcome === "failed") {
        for (const track of tracks.values()) end(track, style.red("✗"), performance.now() - track.heardMs);
      }
      tracks.clear();
    },
    elapsedMs: () => performance.now() - startedMs,
  };
}

interface Lines {
  permanent(line: string): void;
  tick(tracks: readonly StepTrack[]): void;
  clear(): void;
}

function createLiveLines(target: ProgressTarget): Lines {
  const { style } = target;
  let drawn = 0;
  let frame = 0;
  // To the first column too: the terminal echoes ^C where the cursor stands.
  const erase = (): string => (drawn === 0 ? "" : `\r\u001B[${drawn}A\u001B[0J`);
  const clear = (): void => {
    if (drawn > 0) target.write(erase());
    drawn = 0;
  };
  return {
    permanent(line) {
      clear();
      target.write(`${line}\n`);
    },
    tick(tracks) {
      frame += 1;
      // One column less: a full line would wrap, and then erasing miscounts.
      const columns = Math.max(20, target.columns() - 1);
      const lines = tracks.flatMap((track) => {
        const measure = describeMeasure(track, { bar: columns >= 70 }) || soFar(track);
        const seen = `${printable(track.step.title)}  ${measure}`.trimEnd();
        const mark = style.cyan(spinner[frame % spinner.length] ?? "");
        const { logPath } = track.step;
        const log =
          logPath === undefined ? [] : [style.dim(truncate(`    log: ${printable(logPath)}`, columns))];
        return [`${mark} ${truncate(seen, columns - 2)}`, ...log];
      });
      if (lines.length === 0 && drawn === 0) return;
      target.write(erase() + lines.map((line) => `${line}\n`).join(""));
      drawn = lines.length;
    },
    clear,
  };
}

/** How long a step without a measure has been going on; nothing for the first moment. */
function soFar(track: StepTrack): string {
  const elapsedMs = performance.now() - track.heardMs;
  return elapsedMs < 1000 ? "" : coarse(elapsedMs);
}

function createPlainLines(target: ProgressTarget): Lines {
  const told = new Map<string, number>();
  return {
    permanent: (line) => target.write(`${line}\n`),
    tick(tracks) {
      const nowMs = performance.now();
      for (const track of tracks) {
        const { id, title, logPath } = track.step;
        const lastMs = told.get(id);
        if (lastMs === undefined) {
          told.set(id, nowMs + announceAfterMs - tellEveryMs);
        } else if (nowMs - lastMs >= tellEveryMs) {
          const measure = describeMeasure(track, { bar: false });
          const log = logPath === undefined ? "" : `  (log: ${printable(logPath)})`;
          target.write(`… ${printable(title)}${measure === "" ? "" : `  ${measure}`}${log}\n`);
          told.set(id, nowMs);
        }
      }
    },
    clear: () => undefined,
  };
}
