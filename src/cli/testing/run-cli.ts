/** The command line as a real process. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { buffer } from "node:stream/consumers";
import { fileURLToPath, pathToFileURL } from "node:url";

export const mainPath = fileURLToPath(new URL("../main.ts", import.meta.url));
export const tsxLoader = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;

export interface CliResult {
  exitCode: number | null;
  stdout: string;
  stdoutBytes: Buffer;
  stderr: string;
}

export interface CliOptions {
  socketPath?: string;
  input?: string | Buffer;
  env?: NodeJS.ProcessEnv;
}

/** Runs `heyvm` with these words to its end. */
export async function runCli(words: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const child = spawnCli(words, options);
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(options.input ?? "");
  const exited = once(child, "exit");
  const [stdout, stderr] = await Promise.all([collect(child.stdout), collect(child.stderr), exited]);
  return {
    exitCode: child.exitCode,
    stdout: stdout.toString(),
    stdoutBytes: stdout,
    stderr: stderr.toString(),
  };
}

export function spawnCli(words: readonly string[], options: CliOptions = {}): ChildProcess {
  return spawn(process.execPath, ["--import", tsxLoader, mainPath, ...words], {
    stdio: "pipe",
    env: cliEnvironment(options),
  });
}

/** What has come so far of stdout, and of stderr. */
export function followOutputs({ stdout, stderr }: ChildProcess): [() => string, () => string] {
  return [follow(stdout), follow(stderr)];
}

function follow(stream: NodeJS.ReadableStream | null): () => string {
  let seen = "";
  stream?.on("data", (chunk: Buffer) => (seen += chunk.toString()));
  return () => seen;
}

/** Nothing of this machine's own settings, and no daemon but the test's. */
export function cliEnvironment({ socketPath, env }: CliOptions): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(HEYVM_|MVM_|NO_COLOR|FORCE_COLOR)/.test(name),
  );
  const socket = socketPath === undefined ? {} : { HEYVM_SOCKET: socketPath };
  return { ...Object.fromEntries(kept), MVM_DATA_DIR: "/nonexistent/heyvm", ...socket, ...env };
}

async function collect(stream: NodeJS.ReadableStream | null): Promise<Buffer> {
  return stream === null ? Buffer.alloc(0) : await buffer(stream);
}
