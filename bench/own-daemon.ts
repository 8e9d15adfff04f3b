/** A daemon of a bench's own, with settings that the user's daemon need not have; both share templates and disks. */
import { copyFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { stateFolder, statePaths } from "../src/config/paths.ts";
import { Heyvm } from "../src/sdk/index.ts";

export interface OwnDaemon extends AsyncDisposable {
  heyvm: Heyvm;
  /** For a command line that is to speak to it, as of somebody who has no settings in his environment. */
  cliEnv: NodeJS.ProcessEnv;
}

const endTimeoutMs = 60_000;

/**
 * `settings`: environment variables (`HEYVM_…`); an empty one stands for the default, whatever the environment says.
 */
export async function startOwnDaemon(settings: Readonly<Record<string, string>>): Promise<OwnDaemon> {
  const root = await mkdtemp(join(tmpdir(), "heyvm-bench-"));
  // An image that was verified is another than one that was found.
  await copyFile(statePaths(stateFolder()).imageIndex, statePaths(root).imageIndex).catch(() => undefined);
  const before = { ...process.env };
  // Where the user has named his daemon's socket, we would find that one.
  const own = { MVM_DATA_DIR: root, HEYVM_SOCKET: "" };
  Object.assign(process.env, settings, own);
  try {
    const heyvm = await Heyvm.connect({ onNotice: (message) => console.error(message) });
    return {
      heyvm,
      cliEnv: { ...withoutSettings(before), MVM_DATA_DIR: root },
      async [Symbol.asyncDispose]() {
        heyvm.close();
        await endDaemon(root);
        await rm(root, { recursive: true, force: true });
      },
    };
  } finally {
    process.env = before;
  }
}

function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("HEYVM_")));
}

async function endDaemon(root: string): Promise<void> {
  const { pid }: { pid: number } = JSON.parse(await readFile(statePaths(root).daemonInfo, "utf8"));
  process.kill(pid, "SIGTERM");
  const deadline = performance.now() + endTimeoutMs;
  while (isThere(pid)) {
    if (performance.now() > deadline) throw new Error(`the bench's daemon (${pid}) does not leave`);
    // Not a child of ours: nothing tells of its end.
    await delay(100);
  }
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
