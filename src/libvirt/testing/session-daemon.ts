/** A real libvirt session daemon of its own for a test: its own folders, its own sockets, gone afterwards. */
import { execFile } from "node:child_process";
import { chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { dialUntilUp } from "../daemon/dial-until-up.ts";
import { findProgram, supervise } from "../daemon/supervisor.ts";

export interface SessionHostOptions {
  /** Content of `libvirtd.conf`. */
  config?: string | undefined;
  /** More arguments for libvirtd. */
  args?: readonly string[] | undefined;
}

export interface SessionHost extends AsyncDisposable {
  /** Reaches the daemon from any user that may open the socket; root may. */
  uri: string;
  /** With this environment, `qemu:///session` means the same for `user`. */
  env: NodeJS.ProcessEnv;
  user: TestUser;
  /** Everything is below it; short, as sockets have to be. */
  folder: string;
  socketPath: string;
  /** The process id of libvirtd itself. */
  daemonPid(): number;
  /** Runs a program as `user` with `env`; resolves with its output, rejects when it fails. */
  runAs(
    argv: readonly string[],
    options?: { signal?: AbortSignal },
  ): Promise<{ stdout: string; stderr: string }>;
  /** Ends the daemon, its machines and the folder. Idempotent. */
  stop(): Promise<void>;
}

export interface TestUser {
  name: string;
  uid: number;
  gid: number;
}

const testUserName = "heyvm-test";
const testUserId = 2377;
const startTimeoutMs = 60_000;
const stopTimeoutMs = 10_000;

/** As root, the daemon is an ordinary user's, as root has no session daemon. */
export async function startSessionHost(options: SessionHostOptions = {}): Promise<SessionHost> {
  const user = await ensureTestUser();
  const { folder, env } = createUserFolder(user);
  const configPath = join(folder, "libvirtd.conf");
  writeFileSync(configPath, options.config ?? "");
  const socketPath = join(folder, "run", "libvirt", "libvirt-sock");
  const [program = "", ...args] = asUser(user, [
    findProgram("libvirtd", env) ?? "libvirtd",
    "--config",
    configPath,
    ...(options.args ?? []),
  ]);
  const daemon = supervise(program, args, { env });
  let stopping: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await endTree(daemon.pid);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const { transport } = await dialUntilUp(() => socketPath, daemon, AbortSignal.timeout(startTimeoutMs));
    transport.destroy();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    uri: `qemu+unix:///session?socket=${encodeURIComponent(socketPath)}`,
    env,
    user,
    folder,
    socketPath,
    daemonPid: () => readPid(join(folder, "run", "libvirt", "libvirtd.pid")),
    runAs: (argv, options) => runAs(user, env, argv, options),
    stop: () => (stopping ??= stop()),
    [Symbol.asyncDispose]: () => (stopping ??= stop()),
  };
}

/** Throws where there is none yet: 0 would stand for the group of whoever sends it a signal. */
function readPid(path: string): number {
  const text = readFileSync(path, "utf8").trim();
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`${path} has no process id: ${JSON.stringify(text)}`);
  return Number(text);
}

/** Folders of a user that has just logged in for the first time. */
export function createUserFolder(user: TestUser): { folder: string; env: NodeJS.ProcessEnv } {
  const folder = mkdtempSync(join(tmpdir(), "lv-"));
  const inside = (name: string): string => {
    const path = join(folder, name);
    mkdirSync(path, { mode: 0o700 });
    chownSync(path, user.uid, user.gid);
    return path;
  };
  chownSync(folder, user.uid, user.gid);
  const env = {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    LANG: "C.UTF-8",
    USER: user.name,
    LOGNAME: user.name,
    HOME: inside("home"),
    XDG_RUNTIME_DIR: inside("run"),
    XDG_CONFIG_HOME: inside("config"),
    XDG_CACHE_HOME: inside("cache"),
    XDG_DATA_HOME: inside("data"),
    XDG_STATE_HOME: inside("state"),
  };
  return { folder, env };
}

/** Who session daemons of tests run as: this user, or for root an ordinary one that is made when missing. */
export async function ensureTestUser(): Promise<TestUser> {
  const self = userInfo();
  if (self.uid !== 0) return { name: self.username, uid: self.uid, gid: self.gid };
  return await findTestUser().catch(async () => {
    // Two tests may do it at the same time: whether the user is there then is what counts.
    await run("useradd", ["-m", "-u", String(testUserId), testUserName]).catch(() => undefined);
    return await findTestUser();
  });
}

async function findTestUser(): Promise<TestUser> {
  const { stdout } = await run("getent", ["passwd", testUserName]);
  const [name = "", , uid, gid] = stdout.split(":");
  return { name, uid: Number(uid), gid: Number(gid) };
}

/** The command that runs `argv` as this user. */
export function asUser(user: TestUser, argv: readonly string[]): string[] {
  if (process.geteuid?.() === user.uid) return [...argv];
  return [
    "/usr/bin/setpriv",
    "--reuid",
    String(user.uid),
    "--regid",
    String(user.gid),
    "--init-groups",
    ...argv,
  ];
}

/** Ends everything below a process that was started for the test, then itself. Resolves when all of it is gone. */
export async function endTree(root: number): Promise<void> {
  if (root <= 1 || root === process.pid)
    throw new Error(`process ${root} is not one that a test has started`);
  // A supervisor last: it reaps the others.
  await endProcesses(descendants(root));
  await endProcesses([root]);
}

async function endProcesses(pids: readonly number[]): Promise<void> {
  for (const pid of pids) {
    signalProcess(pid, "SIGTERM");
    // A test may have stopped it.
    signalProcess(pid, "SIGCONT");
  }
  const deadlineMs = performance.now() + stopTimeoutMs;
  // They are nobody's children that we could wait for.
  for (let left = pids.filter(isRunning); left.length > 0; left = left.filter(isRunning)) {
    await sleep(10);
    if (performance.now() < deadlineMs) continue;
    for (const pid of left) signalProcess(pid, "SIGKILL");
  }
}

/** The processes below `root`, itself not counted. */
function descendants(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const parent = parentOf(Number(name));
    if (parent !== undefined) parents.set(Number(name), parent);
  }
  const isBelow = (pid: number): boolean => {
    const parent = parents.get(pid);
    return parent !== undefined && (parent === root || isBelow(parent));
  };
  return [...parents.keys()].filter(isBelow);
}

/** `undefined` for a process that is not there. */
function parentOf(pid: number): number | undefined {
  try {
    // The name, which comes before it, may have blanks and brackets in it.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return undefined;
  }
}

function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !stat.slice(stat.lastIndexOf(")")).startsWith(") Z");
  } catch {
    return false;
  }
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

function runAs(
  user: TestUser,
  env: NodeJS.ProcessEnv,
  argv: readonly string[],
  options: { signal?: AbortSignal } = {},
): Promise<{ stdout: string; stderr: string }> {
  const [program = "", ...args] = asUser(user, argv);
  return run(program, args, { env, ...options });
}

function run(
  program: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; signal?: AbortSignal } = {},
): Promise<{ stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { cwd: "/", maxBuffer: 2 ** 26, ...options }, (error, stdout, stderr) => {
      if (error === null) resolve({ stdout, stderr });
      else reject(new Error(`${program} ${args.join(" ")} failed: ${stderr.trim()}`, { cause: error }));
    });
  });
}
