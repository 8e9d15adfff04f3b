/** Starts the daemon in the background and waits until it answers. */
import { type ChildProcess, spawn } from "node:child_process";
import { type FSWatcher, watch } from "node:fs";
import { type FileHandle, open, readFile, statfs } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, extname } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { openSocketFolder } from "../config/daemon-socket.ts";
import type { StatePaths } from "../config/paths.ts";
import { ensureStateFolder } from "../config/state-folder.ts";
import { AbortedError, DiskFullError, type HeyvmError } from "../errors/index.ts";
import { DaemonUnavailableError } from "./client-errors.ts";
import { createDeferred } from "../core/deferred.ts";
import { describeEndpoint, type Endpoint } from "./endpoint.ts";
import { problemFromAnswer, remoteError } from "./remote-error.ts";
import { parseMessage } from "./wire.ts";

const startTimeoutMs = 60_000;
/** Where the file system can't be watched, and for a socket that is there a moment before it listens. */
const lookAgainMs = 250;
const tailLines = 8;

export interface DaemonStart {
  endpoint: Endpoint;
  paths: StatePaths;
  /** Whether the daemon answers by now. */
  answers: () => Promise<boolean>;
  signal: AbortSignal | undefined;
  /** Node's arguments; default: this package's daemon. */
  serve?: readonly string[] | undefined;
}

/**
 * Several may start it at the same time: the daemon's lock lets one win, the others' children leave, and all wait for
 * the same socket. Throws `daemon_unavailable` with the end of the log, or the daemon's own reason.
 */
export async function startDaemon({ endpoint, paths, answers, signal, serve }: DaemonStart): Promise<void> {
  const socketPath = describeEndpoint(endpoint);
  await ensureStateFolder(paths.root);
  await openSocketFolder(socketPath);
  const log = await open(paths.daemonLog, "a+", 0o600);
  try {
    const from = (await log.stat()).size;
    const child = spawnServe(socketPath, log.fd, serve ?? serveArguments());
    const verdict = await waitForDaemon(child, [dirname(socketPath), paths.root], answers, signal);
    if (verdict === "answers") return;
    const said = await readFrom(log, from);
    child.unref();
    if (verdict === "aborted") throw new AbortedError("starting the daemon", signal?.reason);
    if (said.length === 0 && (await isFull(paths.root)))
      throw new DiskFullError("starting the daemon", paths.root);
    if (verdict === "held") throw await heldFailure(paths, socketPath);
    throw reasonIn(said) ?? startFailure(verdict, said, paths.daemonLog);
  } finally {
    await log.close();
  }
}

function spawnServe(socketPath: string, logFd: number, serve: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, serve, {
    cwd: "/",
    detached: true,
    stdio: ["ignore", logFd, logFd],
    env: { ...process.env, HEYVM_SOCKET: socketPath },
  });
  child.unref();
  return child;
}

function serveArguments(): string[] {
  const self = fileURLToPath(import.meta.url);
  const main = fileURLToPath(new URL(`../daemon/main${extname(self)}`, import.meta.url));
  return [...loaderOf(self), main];
}

/** Sources run through tsx; what is built needs nothing. */
function loaderOf(self: string): string[] {
  if (extname(self) !== ".ts") return [];
  return ["--import", pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href];
}

/** `held`: another daemon has the state folder, and does not answer at this socket. */
type Verdict =
  | "answers"
  | "aborted"
  | "late"
  | "held"
  | { code: number | null; signal: NodeJS.Signals | null };

async function waitForDaemon(
  child: ChildProcess,
  folders: readonly string[],
  answers: () => Promise<boolean>,
  signal: AbortSignal | undefined,
): Promise<Verdict> {
  const verdict = createDeferred<Verdict>();
  const { resolve } = verdict;
  let looking = false;
  let lookAgain = false;
  const look = async (): Promise<void> => {
    if (looking) {
      lookAgain = true;
      return;
    }
    looking = true;
    do {
      lookAgain = false;
      if (await answers().catch(() => false)) {
        resolve("answers");
        // `looking` stays true: nothing is asked any more.
        return;
      }
    } while (lookAgain);
    looking = false;
  };
  const onChange = (): void => void look();
  const onAbort = (): void => resolve("aborted");
  const watchers = [...new Set(folders)].flatMap((folder) => watchFolder(folder, onChange));
  let isHeld = false;
  const timer = setTimeout(() => resolve(isHeld ? "held" : "late"), startTimeoutMs);
  const ticker = setInterval(onChange, lookAgainMs);
  child.once("error", () => resolve({ code: null, signal: null }));
  child.once("exit", (code, signalName) => {
    // Success without an answer yet: another daemon has won the race and is about to listen.
    if (code === 0) {
      isHeld = true;
      onChange();
    } else void look().then(() => resolve({ code, signal: signalName }));
  });
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    return await verdict.promise;
  } finally {
    clearTimeout(timer);
    clearInterval(ticker);
    signal?.removeEventListener("abort", onAbort);
    for (const watcher of watchers) watcher.close();
  }
}

function watchFolder(folder: string, onChange: () => void): FSWatcher[] {
  try {
    const watcher = watch(folder, onChange);
    watcher.on("error", () => watcher.close());
    return [watcher];
  } catch {
    // Out of inotify instances: the interval finds it a moment later.
    return [];
  }
}

async function readFrom(log: FileHandle, offset: number): Promise<string[]> {
  const length = Math.min((await log.stat()).size - offset, 65_536);
  if (length <= 0) return [];
  const { buffer, bytesRead } = await log.read(Buffer.alloc(length), 0, length, offset);
  return buffer
    .subarray(0, bytesRead)
    .toString("utf8")
    .split("\n")
    .filter((line) => line.trim() !== "");
}

/** What `daemon/main.ts` says when it cannot serve. */
function reasonIn(lines: readonly string[]): HeyvmError | undefined {
  for (const line of lines.toReversed()) {
    if (!line.startsWith('{"error":')) continue;
    const problem = problemFromAnswer(500, line);
    if (problem.code !== "internal") return remoteError(problem);
  }
  return undefined;
}

/** Then the daemon could not even say why it ended. */
async function isFull(folder: string): Promise<boolean> {
  return (await statfs(folder)).bavail === 0;
}

async function heldFailure(paths: StatePaths, socketPath: string): Promise<DaemonUnavailableError> {
  const text = await readFile(paths.daemonInfo, "utf8").catch(() => "{}");
  const { pid } = parseMessage<{ pid?: number }>(text);
  return new DaemonUnavailableError(
    `a heyvm daemon${pid === undefined ? "" : ` (pid ${pid})`} has ${paths.root}, and does not answer at ${socketPath}`,
    {
      hint: `end it, sandboxes go on without it: kill ${pid ?? `$(fuser ${paths.daemonLog})`}`,
      details: { log_path: paths.daemonLog },
    },
  );
}

function startFailure(
  verdict: Exclude<Verdict, "answers" | "aborted" | "held">,
  lines: readonly string[],
  logPath: string,
): DaemonUnavailableError {
  const what =
    verdict === "late"
      ? `did not answer within ${startTimeoutMs / 1000} s`
      : `ended at its start (${verdict.signal ?? `exit code ${verdict.code ?? "unknown"}`})`;
  const tail = lines.slice(-tailLines).map((line) => `\n    ${readable(line)}`);
  return new DaemonUnavailableError(
    `the heyvm daemon ${what}${tail.length === 0 ? "" : `; the end of its log:${tail.join("")}`}`,
    { hint: `the whole log is ${logPath}; to see it start: heyvm serve`, details: { log_path: logPath } },
  );
}

/** The message of a JSON log line; other lines as they are. */
function readable(line: string): string {
  try {
    const entry = parseMessage<{ msg?: string; error?: string }>(line);
    return entry.msg ?? entry.error ?? line;
  } catch {
    return line;
  }
}
