/**
 * Where a daemon begins that a client has started on demand (`sdk/daemon-start.ts`): it leaves when nothing is left to do,
 * and what it prints goes to the end of its log. `heyvm serve` runs the same for people.
 */
import { writeSync } from "node:fs";
import { constants } from "node:os";

import { errorCodes, toHeyvmError } from "../errors/index.ts";

const stop = new AbortController();
for (const name of ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"] as const) {
  process.on(name, () => {
    if (stop.signal.aborted) process.exit(128 + constants.signals[name]);
    stop.abort(name);
  });
}

// What still is open must not keep the process: nothing is left that it could be for.
process.exit(await serve());

async function serve(): Promise<number> {
  try {
    // Here, so that a part of the installation that is missing is told as every other reason is.
    const [{ DaemonRunningError, runDaemon }, { daemonParts }] = await Promise.all([
      import("./daemon.ts"),
      import("./daemon-parts.ts"),
    ]);
    try {
      await runDaemon({ exitWhenIdle: true, signal: stop.signal }, daemonParts);
    } catch (error) {
      // Several clients have started a daemon at the same time, and this one came second: the first serves them all.
      if (!(error instanceof DaemonRunningError)) throw error;
    }
    return 0;
  } catch (thrown) {
    return tellReason(thrown);
  }
}

/** One line, which the client that waits for the daemon makes an error of again. */
function tellReason(thrown: unknown): number {
  const { message, code, hint, details } = toHeyvmError(thrown);
  const line = `${JSON.stringify({ error: message, code, hint, details })}\n`;
  try {
    writeSync(process.stderr.fd, line);
  } catch {
    // A full disk has no room for it: the client looks for that by itself.
  }
  return errorCodes[code].exit;
}
