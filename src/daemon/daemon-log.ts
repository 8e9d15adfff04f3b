/** The daemon's log: JSON lines in one file of bounded size, and one before it. */
import { closeSync, existsSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";

import { type Logger, pino } from "pino";

import type { StatePaths } from "../config/paths.ts";

const fileLimitBytes = 8 * 1_048_576;

/** Let go of with `using`. */
export function openDaemonLog(state: StatePaths, level: "debug" | "info" = "info"): Logger & Disposable {
  const file = createBoundedFile(state.daemonLog, state.daemonLogPrevious);
  const log = pino({ level, base: null, serializers: { err: pino.stdSerializers.err } }, file);
  return Object.assign(log, { [Symbol.dispose]: () => file.close() });
}

/** Lines are few, so they are written at once: none is lost when the daemon is killed. */
function createBoundedFile(path: string, previous: string): { write(line: string): void; close(): void } {
  let fd: number | undefined;
  let sizeBytes = 0;
  const open = (): number => {
    const next = openSync(path, "a", 0o600);
    // Not before there is another: a line would go to whatever gets the number next.
    if (fd !== undefined) closeSync(fd);
    fd = next;
    sizeBytes = fstatSync(fd).size;
    return fd;
  };
  const beginAnew = (): void => {
    if (existsSync(path)) renameSync(path, previous);
    open();
  };
  return {
    write(line) {
      // A full disk, or what somebody does in the folder, must not end the daemon.
      try {
        if (sizeBytes > fileLimitBytes) beginAnew();
      } catch {
        // It goes on where it is, and tries again with the next line.
      }
      try {
        sizeBytes += writeSync(fd ?? open(), line);
      } catch {
        // The line is lost.
      }
    },
    close() {
      if (fd !== undefined) closeSync(fd);
    },
  };
}
