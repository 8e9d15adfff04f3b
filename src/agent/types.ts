/** What the host side of the agent offers; implemented in this folder, used by the layers above. */
import type { Duplex, Readable, Writable } from "node:stream";

import type { CallOptions } from "../core/deadline.ts";

export interface TerminalSize {
  cols: number;
  rows: number;
}

export interface ExecRequest {
  /** Program and arguments; the program is looked up in the guest's PATH. */
  argv: readonly [string, ...string[]];
  env?: Readonly<Record<string, string>> | undefined;
  cwd?: string | undefined;
  /** User name or numeric id; absent: the agent's own (root). */
  user?: string | undefined;
  /** Present: the command gets a terminal; stdout carries it all and stderr stays empty. */
  terminal?: TerminalSize | undefined;
  /** After this long in the guest the whole process group is killed (TERM, then KILL); output so far is delivered. */
  timeoutMs?: number | undefined;
  /** `false`: the command's stdin is empty (`/dev/null`). */
  stdin?: boolean | undefined;
  /** Detached: goes on when the session ends; its outputs go to these files in the guest. */
  detached?: { stdoutPath: string; stderrPath: string } | undefined;
}

export interface CommandExit {
  /** Exit code, or `undefined` when a signal ended it. */
  code: number | undefined;
  /** `SIGKILL`, … when a signal ended it. */
  signal: NodeJS.Signals | undefined;
  /** The guest's own timeout ended it. */
  timedOut: boolean;
}

/** A command that was started in the guest. Its streams have back-pressure all the way to the guest's pipe. */
export interface RunningCommand {
  readonly pid: number;
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Settles after both outputs were delivered in full. Rejects only when the session is lost for good. */
  readonly exit: Promise<CommandExit>;
  /** Sends a signal to the whole process group. */
  kill(signal: NodeJS.Signals): void;
  resize(size: TerminalSize): void;
}

export interface FileStatus {
  path: string;
  type: "file" | "directory" | "symlink" | "other";
  sizeBytes: number;
  /** Permission bits, `0o644`. */
  mode: number;
  uid: number;
  gid: number;
  /** Milliseconds since the epoch. */
  modifiedMs: number;
  linkTarget?: string | undefined;
}

export interface DirectoryEntry extends FileStatus {
  name: string;
}

export interface AgentFiles {
  read(path: string, options?: CallOptions & { offset?: number; length?: number }): Promise<Readable>;
  /** Writes beside the target and renames, so that a broken upload leaves the old file. Returns the bytes written. */
  write(
    path: string,
    content: AsyncIterable<Uint8Array>,
    options?: CallOptions & { mode?: number; makeParents?: boolean; user?: string },
  ): Promise<number>;
  list(path: string, options?: CallOptions): Promise<DirectoryEntry[]>;
  /** Tells of a symbolic link itself, unless `follow`. */
  stat(path: string, options?: CallOptions & { follow?: boolean }): Promise<FileStatus>;
  makeDirectory(path: string, options?: CallOptions & { recursive?: boolean; mode?: number }): Promise<void>;
  remove(path: string, options?: CallOptions & { recursive?: boolean }): Promise<void>;
  rename(from: string, to: string, options?: CallOptions): Promise<void>;
}

/** What makes a guest this one and no other. Absent fields stay as they are. */
export interface GuestIdentity {
  hostname?: string | undefined;
  /** 32 lower-case hex digits. */
  machineId?: string | undefined;
  /** Sets the guest's clock; milliseconds since the epoch. */
  clockMs?: number | undefined;
  /** Bytes for the guest's random pool, base64. */
  entropy?: string | undefined;
  /** A UUID that programs take for the one of this boot: the kernel's own is the same in all clones of a template. */
  bootId?: string | undefined;
  /** Files of `/etc/ssh` by name. */
  sshHostKeys?: Readonly<Record<string, string>> | undefined;
}

export interface AgentInfo {
  protocol: number;
  agentVersion: string;
  /** `Linux 6.1.0-…` and the like, as the guest tells it: not to be trusted. */
  kernel: string;
  osRelease: Record<string, string>;
  hostname: string;
  bootId: string;
}

export interface GuestStatistics {
  uptimeSeconds: number;
  loadAverage: [number, number, number];
  /** CPU time spent since boot, all CPUs. */
  cpuSeconds: number;
  memoryTotalBytes: number;
  memoryAvailableBytes: number;
  diskTotalBytes: number;
  diskAvailableBytes: number;
  processes: number;
}

/** A command that the agent started, as the guest tells it. */
export interface GuestCommand {
  pid: number;
  argv: string[];
  startedMs: number;
  detached: boolean;
}

export type DialTarget = { port: number; host?: string } | { path: string };

/** A conversation with one guest's agent. Survives a broken pipe by opening it anew and resuming where it was. */
export interface AgentSession extends AsyncDisposable {
  /** What the agent said of its guest; the boot id is the one that `identify` has set since. */
  readonly info: AgentInfo;
  /**
   * Starts a command. `options.timeoutMs` is for the start alone (the command's own is in the request); the signal also
   * ends the running command. Destroying `stdout` or `stderr` lets the command go on unheard.
   */
  exec(request: ExecRequest, options?: CallOptions): Promise<RunningCommand>;
  readonly files: AgentFiles;
  /** Connects to a TCP port (`127.0.0.1` unless a host is given) or unix socket inside the guest. */
  dial(target: DialTarget, options?: CallOptions): Promise<Duplex>;
  identify(identity: GuestIdentity, options?: CallOptions): Promise<void>;
  /** Mounts an offered device (virtio-9p tag) at a path, making the folder. Names the kernel's missing module, if so. */
  mount(tag: string, guestPath: string, options?: CallOptions & { readOnly?: boolean }): Promise<void>;
  /** A round trip; milliseconds. */
  ping(options?: CallOptions): Promise<number>;
  statistics(options?: CallOptions): Promise<GuestStatistics>;
  /** Commands that run now: this session's, and detached ones of earlier sessions. */
  commands(options?: CallOptions): Promise<GuestCommand[]>;
  /** A signal for such a command's process group. */
  signal(pid: number, signal: NodeJS.Signals, options?: CallOptions): Promise<void>;
  sync(options?: CallOptions): Promise<void>;
  /** Asks the guest to power off (or reboot); resolves when it has agreed, not when it is off. */
  powerOff(options?: CallOptions & { reboot?: boolean }): Promise<void>;
  /** Call before the guest is paused: until `release`, its silence does not count against it. */
  hold(): void;
  release(): void;
  /** Settles when the session is over for good; the reason is an error unless `close` was called without one. */
  readonly closed: Promise<Error | undefined>;
  /** With a reason, calls that are under way fail with it, and the agent is not told. */
  close(reason?: Error): Promise<void>;
}

export interface ConnectOptions extends CallOptions {
  /** How long a broken pipe may take to come back before the session ends. */
  reconnectMs?: number | undefined;
  /** While calls are under way, an agent that is silent for so long is asked for a sign of life; 0 never asks. */
  keepAliveMs?: number | undefined;
}

/**
 * `connectAgent(open, options)` in `connect.ts`: opens the pipe again and again until the agent answers or the deadline
 * passes (`guest_unresponsive`).
 */
export type ConnectAgent = (
  open: (signal: AbortSignal) => Promise<Duplex>,
  options?: ConnectOptions,
) => Promise<AgentSession>;
