/** One step of a long work as seen so far, and its measure for people: bar, size, speed, time left. */
import { formatSize } from "../../config/size.ts";
import type { Step } from "../../sdk/index.ts";
import { formatSeconds } from "./time.ts";

const barColumns = 20;
/** Speed is taken over this much of the past. */
const speedWindowMs = 5000;

/** A step as seen so far. */
export interface StepTrack {
  step: Step;
  group: string;
  /** Whether other steps began within it. */
  hasParts: boolean;
  /** Whether a line that stays has told of its beginning. */
  announced: boolean;
  /** When it began, in the work's own time. */
  beganMs: number;
  /** When its beginning was heard of, in this process's time. */
  heardMs: number;
  /** Recent measures, oldest first. */
  samples: { atMs: number; bytes: number }[];
}

export function trackStep(track: StepTrack | undefined, step: Step, group: string, nowMs: number): StepTrack {
  const next = track ?? {
    step,
    group,
    hasParts: false,
    announced: false,
    beganMs: step.elapsedMs,
    heardMs: nowMs,
    samples: [],
  };
  next.step = step;
  if (step.doneBytes !== undefined) {
    next.samples.push({ atMs: nowMs, bytes: step.doneBytes });
    // One sample older than the window stays, so that there always is a span to measure.
    while ((next.samples[1]?.atMs ?? nowMs) < nowMs - speedWindowMs) next.samples.shift();
  }
  return next;
}

/** Bytes a second over the last few seconds; `undefined` until there are two measures. */
function stepSpeed(track: StepTrack): number | undefined {
  const first = track.samples[0];
  const last = track.samples.at(-1);
  if (first === undefined || last === undefined || last.atMs - first.atMs < 200) return undefined;
  return ((last.bytes - first.bytes) / (last.atMs - first.atMs)) * 1000;
}

/** `[=====>    ] 45%  150 MiB of 330 MiB  12 MiB/s  15s left`; empty when the step has no measure. */
export function describeMeasure(track: StepTrack, options: { bar: boolean }): string {
  const { doneBytes, totalBytes } = track.step;
  if (doneBytes === undefined) return "";
  const speed = stepSpeed(track);
  const known = totalBytes !== undefined && totalBytes > 0;
  const share = known ? Math.min(1, doneBytes / totalBytes) : 0;
  const left = known && speed !== undefined && speed > 0 ? (totalBytes - doneBytes) / speed : undefined;
  return [
    options.bar && known ? bar(share) : "",
    known ? `${Math.floor(share * 100)}%` : "",
    known ? `${formatSize(doneBytes)} of ${formatSize(totalBytes)}` : formatSize(doneBytes),
    speed === undefined ? "" : `${formatSize(Math.round(speed))}/s`,
    left === undefined || left < 1 ? "" : `${formatSeconds(left * 1000)} left`,
  ]
    .filter((part) => part !== "")
    .join("  ");
}

function bar(share: number): string {
  const filled = Math.round(share * barColumns);
  return `▕${"█".repeat(filled)}${"░".repeat(barColumns - filled)}▏`;
}
