/** Steps of a long work on stderr: one live line on a terminal, a line at each beginning and end otherwise. */
import type { Step } from "../../sdk/index.ts";
import { createLiveLines } from "./live-lines.ts";
import { createPlainLines } from "./plain-lines.ts";
import type { ProgressTarget } from "./progress-lines.ts";
import { type StepTrack, trackStep } from "./step-track.ts";
import { printable } from "./text.ts";
import { formatSpan } from "./time.ts";

export interface Progress {
  /** Steps that go on side by side are of different groups; within a group a later step is part of those still open. */
  onStep(step: Step, group?: string): void;
  onWarning(message: string): void;
  /** Takes the live lines away; steps that are not done are shown as broken off when `failed`. */
  finish(outcome?: "done" | "failed"): void;
  /** A line of its own above the live ones. */
  note(line: string): void;
  /** Since the work began. */
  elapsedMs(): number;
}

const redrawMs = 100;

export function createProgress(target: ProgressTarget): Progress {
  const { style } = target;
  const tracks = new Map<string, StepTrack>();
  const startedMs = performance.now();
  const lines = target.live ? createLiveLines(target) : createPlainLines(target);
  const tick = (): void => lines.tick(innermost(tracks.values()));
  const timer = setInterval(tick, redrawMs);
  timer.unref();
  const end = (track: StepTrack, mark: string, tookMs: number): void => {
    const took = formatSpan(Math.max(0, tookMs));
    lines.permanent(`${mark} ${printable(track.step.title)}  ${style.dim(took)}`);
  };
  return {
    onStep(step, group = "") {
      const key = `${group} ${step.id}`;
      const known = tracks.get(key);
      // The end of what began before we were listening.
      if (known === undefined && step.state === "done") return;
      if (known === undefined) {
        for (const open of tracks.values()) if (open.group === group) open.hasParts = true;
      }
      const track = trackStep(known, step, group, performance.now());
      tracks.set(key, track);
      if (step.state === "done") {
        tracks.delete(key);
        // Its parts have told what it did, and how long each took.
        if (!track.hasParts || track.announced) end(track, style.green("✓"), step.elapsedMs - track.beganMs);
      }
      // What follows the first measure, the timer shows: chunks come more often than anybody reads.
      if (step.state !== "progress" || track.samples.length <= 1) tick();
    },
    onWarning(message) {
      lines.permanent(`${style.yellow("warning:")} ${printable(message)}`);
      tick();
    },
    note(line) {
      lines.permanent(line);
      tick();
    },
    finish(outcome = "done") {
      clearInterval(timer);
      lines.clear();
      if (outcome === "failed") {
        const deepest = new Set(innermost(tracks.values()));
        for (const track of [...tracks.values()].toReversed()) {
          if (deepest.has(track) || track.announced)
            end(track, style.red("✗"), performance.now() - track.heardMs);
        }
      }
      tracks.clear();
    },
    elapsedMs: () => performance.now() - startedMs,
  };
}

/** The step of each group that began last. */
function innermost(tracks: Iterable<StepTrack>): StepTrack[] {
  const last = new Map<string, StepTrack>();
  for (const track of tracks) last.set(track.group, track);
  return [...last.values()];
}
