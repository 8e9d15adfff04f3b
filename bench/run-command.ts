/**
 * `heyvm run -- true` as its user waits for it: a whole process of the CLI, from its start to its end, with all that it
 * makes and removes. The CLI is `node bin/heyvm` of what `script/build` makes.
 */
import { messageOf } from "../src/errors/index.ts";
import type { OwnDaemon } from "./own-daemon.ts";
import { heyvmCommand, runToEnd } from "./processes.ts";

export interface RunsAtOnce {
  /** From the start of all until the last has ended. */
  totalMs: number;
  /** Why those that failed did. */
  failures: string[];
  /** How many succeeded, but by booting. */
  booted: number;
}

const timeoutMs = 300_000;
/** What the CLI tells of its progress when a machine boots. */
const bootStep = "Starting the machine";

/** One alone. Milliseconds; throws when it fails, or boots. */
export async function runTrue(daemon: OwnDaemon, image: string): Promise<number> {
  const begin = performance.now();
  const { booted } = await runOne(daemon, image);
  if (booted) throw new Error("the sandbox of heyvm run was not cloned");
  return performance.now() - begin;
}

/** Many at once; each has to succeed, but one that fails does not hide what became of the others. */
export async function runTrueAtOnce(daemon: OwnDaemon, image: string, count: number): Promise<RunsAtOnce> {
  const begin = performance.now();
  const outcomes = await Promise.allSettled(Array.from({ length: count }, () => runOne(daemon, image)));
  const totalMs = performance.now() - begin;
  return {
    totalMs,
    failures: outcomes.flatMap((one) => (one.status === "rejected" ? [messageOf(one.reason)] : [])),
    booted: outcomes.filter((one) => one.status === "fulfilled" && one.value.booted).length,
  };
}

async function runOne({ cliEnv }: OwnDaemon, image: string): Promise<{ booted: boolean }> {
  const command = heyvmCommand("run", "--image", image, "--", "true");
  const { stderr } = await runToEnd(command, { env: cliEnv, timeoutMs });
  return { booted: stderr.includes(bootStep) };
}
