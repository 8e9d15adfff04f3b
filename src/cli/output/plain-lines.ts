/** Progress without a terminal: a line when a step turns out to last, and a line at its end. */
import type { ProgressLines, ProgressTarget } from "./progress-lines.ts";
import { describeMeasure, type StepTrack } from "./step-track.ts";
import { printable } from "./text.ts";

/** A step that is over sooner has only its last line. */
const announceAfterMs = 1000;
/** A step with a measure is told of again when this much more is done, but not too often, and not too seldom. */
const tellEveryShare = 0.1;
const tellAtSoonestMs = 10_000;
const tellAtLatestMs = 60_000;

interface Told {
  atMs: number;
  bytes: number;
}

export function createPlainLines(target: ProgressTarget): ProgressLines {
  const told = new WeakMap<StepTrack, Told>();

  function tell(track: StepTrack, nowMs: number): void {
    const { title, logPath, doneBytes = 0 } = track.step;
    const measure = describeMeasure(track, { bar: false });
    const log = logPath === undefined || track.announced ? "" : `  (log: ${printable(logPath)})`;
    target.write(`… ${printable(title)}${measure === "" ? "" : `  ${measure}`}${log}\n`);
    track.announced = true;
    told.set(track, { atMs: nowMs, bytes: doneBytes });
  }

  return {
    permanent: (line) => target.write(`${line}\n`),
    tick(tracks) {
      const nowMs = performance.now();
      for (const track of tracks) {
        const last = told.get(track);
        if (last === undefined ? isLasting(track, nowMs) : hasNews(track, last, nowMs)) tell(track, nowMs);
      }
    },
    clear: () => undefined,
  };
}

/** A step whose parts have been told of goes without saying. */
function isLasting(track: StepTrack, nowMs: number): boolean {
  return !track.hasParts && nowMs - track.heardMs >= announceAfterMs;
}

function hasNews(track: StepTrack, last: Told, nowMs: number): boolean {
  const { doneBytes, totalBytes } = track.step;
  const sinceMs = nowMs - last.atMs;
  if (doneBytes === undefined || doneBytes === last.bytes || sinceMs < tellAtSoonestMs) return false;
  const enough = totalBytes !== undefined && doneBytes - last.bytes >= totalBytes * tellEveryShare;
  return enough || sinceMs >= tellAtLatestMs;
}
