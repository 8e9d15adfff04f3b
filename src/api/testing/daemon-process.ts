/** A whole daemon as a process of its own, for tests: real server, real agent, test backend. */
import { join } from "node:path";

import { statePaths } from "../../config/paths.ts";
import { toHeyvmError } from "../../errors/index.ts";
import { createProcessBackend } from "../../sandbox/testing/process-backend.ts";
import { runDaemon } from "../daemon.ts";
import { createTestImages } from "./test-images.ts";
import { unavailableBackend } from "./unavailable-backend.ts";

const state = statePaths();
const agentModule = process.env["TEST_AGENT_MODULE"] ?? "../../agent/index.ts";
const { connectAgent } = await import(agentModule).catch(() => ({
  connectAgent: async () => {
    throw new Error("no agent");
  },
}));
const stop = new AbortController();
process.on("SIGTERM", () => stop.abort());

try {
  await runDaemon(
    {
      state,
      signal: stop.signal,
      exitWhenIdle: process.env["TEST_EXIT_WHEN_IDLE"] === "1",
      tcp: process.env["TEST_TCP"] === "1",
      onReady: (info) => process.stdout.write(`${JSON.stringify(info)}\n`),
    },
    {
      openBackends: () => () => [
        createProcessBackend(join(state.root, "machines"), { usesImages: true }),
        unavailableBackend,
      ],
      createImages: createTestImages,
      connectAgent,
    },
  );
} catch (error) {
  process.stdout.write(`${JSON.stringify({ code: toHeyvmError(error).code })}\n`);
  process.exitCode = 1;
}
