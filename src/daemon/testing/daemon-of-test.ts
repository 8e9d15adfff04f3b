/** Daemons and state folders that end with the test that asked for them. */
import { onTestFinished } from "vitest";

import { createTestState, startTestDaemon, type TestDaemon } from "./test-daemon.ts";

export async function testFolder(): Promise<string> {
  const state = await createTestState();
  onTestFinished(async () => await state[Symbol.asyncDispose]());
  return state.folder;
}

/** Starts the daemon of that state folder; without one, of a new one. */
export async function startDaemon(folder?: string, env: NodeJS.ProcessEnv = {}): Promise<TestDaemon> {
  const daemon = await startTestDaemon(folder ?? (await testFolder()), env);
  onTestFinished(async () => await daemon[Symbol.asyncDispose]());
  return daemon;
}
