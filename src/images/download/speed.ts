/** How fast a transfer is, and when it will be done. */
const windowMs = 5000;
const leastSpanMs = 200;

export interface SpeedMeter {
  /** Called with all bytes so far; the bytes that were there before the transfer are no speed. */
  measure(
    doneBytes: number,
    totalBytes: number | undefined,
  ): { bytesPerSecond?: number | undefined; secondsLeft?: number | undefined };
}

export function createSpeedMeter(now: () => number = () => performance.now()): SpeedMeter {
  const samples: { atMs: number; bytes: number }[] = [];
  return {
    measure(doneBytes, totalBytes) {
      const atMs = now();
      samples.push({ atMs, bytes: doneBytes });
      // One sample older than the window stays, so that there always is a span to measure.
      while ((samples[1]?.atMs ?? atMs) < atMs - windowMs) samples.shift();
      const first = samples[0];
      if (first === undefined || atMs - first.atMs < leastSpanMs) return {};
      const bytesPerSecond = ((doneBytes - first.bytes) / (atMs - first.atMs)) * 1000;
      if (totalBytes === undefined || bytesPerSecond <= 0) return { bytesPerSecond };
      return { bytesPerSecond, secondsLeft: (totalBytes - doneBytes) / bytesPerSecond };
    },
  };
}
