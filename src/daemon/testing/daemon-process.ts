/** A whole daemon as a process of its own, for tests: real server, real agent, test backend. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { connectAgent } from "../../agent/connect.ts";
import type { ConnectAgent } from "../../agent/types.ts";
import { statePaths } from "../../config/paths.ts";
import { toHeyvmError } from "../../errors/index.ts";
import { createProcessBackend } from "../../sandbox/testing/process-backend.ts";
import { runDaemon } from "../daemon.ts";
import { createTestImages } from "./test-images.ts";
import { unavailableBackend } from "./unavailable-backend.ts";

const state = statePaths();
/** Within the time that a test's hook has. */
const leaveMs = 7000;
const identifyTimeoutMs = 60_000;
/** While it is there, no guest gets further than its connection. */
const holdFile = join(state.root, "hold-guests");
/** A namespace has no clock and no random pool of its own, and an ordinary user cannot name it: those stay the host's. */
const connectTestAgent: ConnectAgent = async (open, options) => {
  const session = await connectAgent(open, options);
  const identify = session.identify.bind(session);
  session.identify = async ({ machineId, hostname }, call) => {
    while (existsSync(holdFile) && call?.signal?.aborted !== true) await delay(20);
    // A guest that is asked twice would show as another machine: here only the host is slow.
    const patient = call && { ...call, timeoutMs: identifyTimeoutMs };
    await identify(process.getuid?.() === 0 ? { machineId, hostname } : { machineId }, patient);
  };
  return session;
};

const stop = new AbortController();
process.on("SIGTERM", () => {
  stop.abort();
  setTimeout(tellWhatHolds, leaveMs).unref();
});

// An error that nobody catches, from nowhere.
process.on("SIGUSR2", () => {
  throw new Error("nobody foresaw this");
});
process.on("SIGURG", () => void Promise.reject(new Error("nobody handles a promise's end")));

try {
  await runDaemon(
    {
      state,
      signal: stop.signal,
      exitWhenIdle: process.env["TEST_EXIT_WHEN_IDLE"] === "1",
      tcp: process.env["TEST_TCP"] === "1",
      insecureHttp: process.env["TEST_INSECURE_HTTP"] === "1",
      onReady: (info) => process.stdout.write(`${JSON.stringify(info)}\n`),
    },
    {
      backends: () =>
        [createProcessBackend(join(state.root, "machines"), { usesImages: true }), unavailableBackend].map(
          (backend) => ({ ...backend, open: () => backend }),
        ),
      createImages: createTestImages,
      connectAgent: connectTestAgent,
    },
  );
} catch (error) {
  process.stdout.write(`${JSON.stringify({ code: toHeyvmError(error).code })}\n`);
  process.exitCode = 1;
}

/** A daemon that does not leave is rare, and cannot be asked later. */
function tellWhatHolds(): void {
  const log = readFileSync(state.daemonLog, "utf8").split("\n").slice(-12).join("\n");
  const held = process.getActiveResourcesInfo().join(", ");
  process.stderr.write(`the daemon ${process.pid} does not leave; it holds: ${held}\n${log}\n`);
}
