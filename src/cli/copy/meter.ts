import { Transform } from "node:stream";

import type { Invocation } from "../invocation.ts";

/** What a copy has done so far. */
export interface Meter extends Disposable {
  /** Counts the bytes that go through. */
  counter(): Transform;
  fileDone(): void;
  readonly files: number;
  readonly bytes: number;
}

const reportEveryMs = 100;

/** Shows a bar on a terminal, and nothing otherwise. `totalBytes` is absent for what comes from a pipe. */
export function createMeter(invocation: Invocation, title: string, totalBytes: number | undefined): Meter {
  const progress = process.stderr.isTTY ? invocation.progress() : undefined;
  const startedMs = performance.now();
  let files = 0;
  let bytes = 0;
  let reportedMs = 0;
  const report = (): void => {
    const elapsedMs = performance.now() - startedMs;
    const step = { id: "copy", title, logPath: undefined, elapsedMs, doneBytes: bytes, totalBytes };
    progress?.onStep({ ...step, state: "progress" });
  };
  report();
  return {
    counter: () =>
      new Transform({
        transform(chunk: Buffer, _encoding, callback) {
          bytes += chunk.length;
          const nowMs = performance.now();
          if (nowMs - reportedMs >= reportEveryMs) {
            reportedMs = nowMs;
            report();
          }
          callback(null, chunk);
        },
      }),
    fileDone: () => {
      files += 1;
    },
    get files() {
      return files;
    },
    get bytes() {
      return bytes;
    },
    [Symbol.dispose]: () => progress?.finish(),
  };
}
