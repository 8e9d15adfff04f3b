/** One sandbox, as a program holds it. */
import { inspect, type InspectOptions } from "node:util";

import type { LogEntry as LogDocument, Logs, Removed, Sandbox as SandboxDocument } from "../api/schema.ts";
import { HeyvmError } from "../errors/index.ts";
import {
  type CommandResult,
  execCommand,
  type ExecOptions,
  type RunningCommand,
  spawnCommand,
  type SpawnOptions,
} from "./commands.ts";
import type { CallOptions } from "../core/deadline.ts";
import { sandboxPath } from "./endpoint.ts";
import { createFiles, type Files } from "./files.ts";
import { followLogs } from "./logs.ts";
import { type ProgressOptions, requestWithProgress, type Step } from "./progress.ts";
import { toSandboxInfo } from "./sandbox-info.ts";
import type { SandboxInfo } from "./sandbox-types.ts";
import { openShell, type Shell, type ShellOptions } from "./shell.ts";
import type { Transport } from "./transport.ts";

export type LogEntry = LogDocument;

export interface LookOptions extends CallOptions {
  /** Also asks guest and host for its use of CPU and memory. A guest that hangs holds this up by a second or two. */
  stats?: boolean | undefined;
}

/** What can be done with a sandbox. */
export interface SandboxActions {
  readonly files: Files;
  /** Looks at it, as it is now. */
  refresh(options?: LookOptions): Promise<SandboxInfo>;

  /**
   * Runs a command to its end. With `args` (also empty), `command` is a program and no shell sees it; without, it is a
   * shell command line. A non-zero exit is a result, not an error.
   */
  exec(command: string, args?: readonly string[], options?: ExecOptions): Promise<CommandResult>;
  /** Starts a command and hands over its streams. `command` and `args` as for `exec`. */
  spawn(command: string, args?: readonly string[], options?: SpawnOptions): Promise<RunningCommand>;
  /** Opens an interactive shell on a terminal of its own. */
  shell(options?: ShellOptions): Promise<Shell>;

  /** Returns the sandbox as it is then. When the signal ends first, this rejects after the machine is off again. */
  start(options?: ProgressOptions): Promise<Sandbox>;
  /** Asks the guest to power off, and cuts it after `graceSeconds`. */
  stop(options?: CallOptions & { graceSeconds?: number }): Promise<Sandbox>;
  restart(options?: ProgressOptions & { graceSeconds?: number }): Promise<Sandbox>;
  pause(options?: CallOptions): Promise<Sandbox>;
  resume(options?: CallOptions): Promise<Sandbox>;
  /** Cuts it at once; the disk stays. */
  kill(options?: CallOptions): Promise<Sandbox>;
  /**
   * Removes it with everything that belongs to it. With `forget`, it also goes while its backend cannot be asked, which may
   * then still have its machine: the answer's `forgotten` tells.
   */
  remove(options?: CallOptions & { forget?: boolean | undefined }): Promise<RemovedSandbox>;

  /** The newest `limit` lines of its log: start command, setup hooks, console. */
  logs(options?: CallOptions & { limit?: number }): Promise<LogEntry[]>;
  /** Log lines as they come, after the newest `backlog` ones; ends with the sandbox or the signal. */
  followLogs(options?: { backlog?: number; signal?: AbortSignal }): AsyncIterable<LogEntry>;
}

/** What was removed, whatever name was used for it. */
export interface RemovedSandbox {
  id: string;
  name: string;
  forgotten: boolean;
}

export interface Sandbox extends SandboxActions {
  readonly id: string;
  readonly name: string;
  /** As last seen; `refresh` and each life cycle call renew it. */
  readonly info: SandboxInfo;
  /** The document as on the wire, snake case. */
  toJSON(): SandboxDocument;
  /** What `console.log` shows: its information, without functions, and of its environment the names alone. */
  [inspect.custom](depth: number, options: InspectOptions): string;
}

/** A sandbox that its maker owns: `await using` removes it at the end of the block. */
export interface OwnedSandbox extends Sandbox, AsyncDisposable {}

/** A polite stop waits for the guest; under emulation that is slow. */
const stopTimeoutMs = 720_000;
/** How long an undo may take before its waiter gives up; the daemon goes on undoing. */
const undoTimeoutMs = 60_000;

/** A sandbox that was seen: calls go to its id, whatever its name belongs to by then. */
export function createSandboxHandle(transport: Transport, initial: SandboxDocument): OwnedSandbox {
  let document = initial;
  let info = toSandboxInfo(initial);
  const { id } = initial;
  const actions = createSandboxActions(transport, id, (next) => {
    document = next;
    info = toSandboxInfo(next);
    return handle;
  });
  const handle: OwnedSandbox = {
    ...actions,
    id,
    get name() {
      return document.name;
    },
    get info() {
      return info;
    },
    toJSON: () => document,
    [inspect.custom](depth, options) {
      if (depth < 0) return "[Sandbox]";
      return `Sandbox ${inspect({ ...info, env: Object.keys(info.env) }, { ...options, depth })}`;
    },
    [Symbol.asyncDispose]: () => actions.remove().then(() => undefined, ignoreAbsent),
  };
  return handle;
}

/** Asks for nothing before the first call. `seen` gets each document that a call brings, and returns the handle for it. */
export function createSandboxActions(
  transport: Transport,
  reference: string,
  seen: (document: SandboxDocument) => Sandbox = (document) => createSandboxHandle(transport, document),
): SandboxActions {
  const base = sandboxPath(reference);
  const { endpoint } = transport;
  const call = async (verb: string, options: CallOptions = {}, body?: object): Promise<Sandbox> => {
    const request = { timeoutMs: stopTimeoutMs, ...options, body };
    return seen(await transport.json<SandboxDocument>("POST", `${base}/${verb}`, request));
  };
  const callWithProgress = async (
    verb: string,
    body: object,
    options: ProgressOptions = {},
  ): Promise<Sandbox> => {
    let begun = false;
    const onStep = (step: Step): void => {
      begun = true;
      options.onStep?.(step);
    };
    try {
      const path = `${base}/${verb}`;
      return seen(
        await requestWithProgress<SandboxDocument & { type: "sandbox" }>(transport, path, body, {
          ...options,
          onStep,
        }),
      );
    } catch (error) {
      if (begun && options.signal?.aborted === true) await untilSettled();
      throw error;
    }
  };
  /** The daemon undoes a start that its caller has left. */
  const untilSettled = async (): Promise<void> => {
    const request = { query: { settled: true }, timeoutMs: undoTimeoutMs };
    await transport.json("GET", base, request).catch((_goneOrUnreachable: unknown) => undefined);
  };
  const remove: SandboxActions["remove"] = async ({ forget, ...options } = {}) => {
    const request = { timeoutMs: stopTimeoutMs, ...options, query: { forget } };
    const { id, name, forgotten = false } = await transport.json<Removed>("DELETE", base, request);
    return { id, name, forgotten };
  };

  return {
    files: createFiles(transport, reference),
    async refresh({ stats, ...options } = {}) {
      return seen(await transport.json<SandboxDocument>("GET", base, { ...options, query: { stats } })).info;
    },
    exec: (command, args, options) => execCommand(endpoint, reference, command, args, options),
    spawn: (command, args, options) => spawnCommand(endpoint, reference, command, args, options),
    shell: (options) => openShell(endpoint, reference, options),
    start: (options) => callWithProgress("start", {}, options),
    stop: (options) => call("stop", options, { grace_seconds: options?.graceSeconds }),
    restart: (options) => callWithProgress("restart", { grace_seconds: options?.graceSeconds }, options),
    pause: (options) => call("pause", options),
    resume: (options) => call("resume", options),
    kill: (options) => call("kill", options),
    remove,
    async logs(options = {}) {
      const { limit, ...rest } = options;
      return (await transport.json<Logs>("GET", `${base}/logs`, { ...rest, query: { limit } })).logs;
    },
    followLogs: (options) => followLogs(endpoint, reference, options),
  };
}

/** Whoever removed it first did what was wanted. */
function ignoreAbsent(error: unknown): void {
  if (!(error instanceof HeyvmError && error.code === "sandbox_not_found")) throw error;
}
