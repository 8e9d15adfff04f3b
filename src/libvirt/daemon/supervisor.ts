/**
 * Starting a daemon that outlives us, below a process that reaps what the daemon orphans.
 *
 * QEMU detaches itself from libvirtd and becomes an orphan. Where process 1 does not reap orphans promptly (containers,
 * CI runners), libvirtd waits for zombies: ending a domain takes seconds and defining one hangs. A parent that is a
 * subreaper cures that. It goes when the last of its children has gone.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";

import { LibvirtConnectError } from "../errors.ts";

export interface SupervisedDaemon {
  program: string;
  /**
   * The supervisor's process id. SIGTERM to it ends the daemon in order, and then its helpers; machines go on. Without
   * Python on the host, helpers are processes of their own, and stay.
   */
  pid: number;
  /** Aborts with a `LibvirtConnectError` when it has left. */
  left: AbortSignal;
  /** Lets go: the daemon goes on without us. */
  release(): void;
}

export interface SuperviseOptions {
  env: NodeJS.ProcessEnv;
  /** Programs that the daemon needs: started before it, ended when it and all that it has left behind are gone. */
  helpers?: readonly string[] | undefined;
  /** Gives the daemon, and it alone, a `/dev/kvm` that QEMU's user may open. Best effort, for root. */
  openKvm?: boolean | undefined;
}

/** How much of what a daemon says while it starts is kept for the error message. */
const maxMessageBytes = 4096;

/** Starts a program with arguments, detached. It has begun, no more, when this returns. */
export function supervise(
  program: string,
  args: readonly string[],
  options: SuperviseOptions,
): SupervisedDaemon {
  const supervisor = findSupervisor(options);
  const [file = program, ...fileArgs] = [...supervisor.command, program, ...args];
  const child = spawn(file, fileArgs, {
    cwd: "/",
    env: options.env,
    detached: true,
    // Its messages are read until it is up; after that, writing them fails, which libvirt's daemons don't mind.
    stdio: ["pipe", "ignore", "pipe"],
  });
  // It reads its script from there, so that its command line shows what it is for.
  child.stdin.on("error", () => undefined).end(supervisor.script);
  const left = new AbortController();
  let message = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    message = (message + text).slice(-maxMessageBytes);
  });
  child.once("error", (error) =>
    left.abort(new LibvirtConnectError(`could not start ${program}: ${error.message}`, { cause: error })),
  );
  child.once("close", (code, signal) => {
    const said = message.trim();
    left.abort(
      new LibvirtConnectError(
        `${program} left at once (${signal ?? `exit code ${code}`})${said === "" ? "" : `: ${said}`}`,
      ),
    );
  });
  return { program, pid: child.pid ?? -1, left: left.signal, release: () => release(child) };
}

function release(child: ChildProcess): void {
  child.stderr?.destroy();
  child.unref();
}

/** Looks in PATH and where distributions put daemons, which is not in every user's PATH. */
export function findProgram(name: string, env: NodeJS.ProcessEnv): string | undefined {
  const folders = [
    ...(env["PATH"] ?? "").split(delimiter),
    "/usr/sbin",
    "/usr/local/sbin",
    "/sbin",
    "/usr/bin",
  ];
  return folders
    .filter((folder) => folder.startsWith("/"))
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

/** What comes before the daemon's own command. */
function findSupervisor(options: SuperviseOptions): { command: string[]; script: string } {
  const { env, helpers = [], openKvm = false } = options;
  const none = { command: [], script: "" };
  // systemd reaps.
  if (existsSync("/run/systemd/system") && !openKvm && helpers.length === 0) return none;
  // Not the first in PATH: a version manager's shim there is slow, and may not be for every user.
  const python = ["/usr/bin/python3", "/usr/libexec/platform-python"].find(isExecutable);
  const anyPython = python ?? findProgram("python3", env);
  if (anyPython !== undefined) {
    const command = [anyPython, "-I", "-S", "-", openKvm ? "kvm" : "-", helpers.join(":")];
    return { command, script: pythonSupervisor };
  }
  for (const helper of helpers) supervise(helper, [], { env }).release();
  const perl = findProgram("perl", env);
  return perl === undefined ? none : { command: [perl, "-"], script: perlSupervisor };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Arguments: `kvm` or `-`, the helpers' paths with colons between them, the command. Exits with the daemon's code when
 * the daemon is gone and nothing that it has left behind runs.
 *
 * The private `/dev/kvm`: libvirtd runs as root, finds KVM, then asks again as QEMU's user; where that user may not open
 * it, each define asks QEMU for everything once more, which takes seconds.
 */
const pythonSupervisor = `
import ctypes, os, signal, stat, sys, tempfile
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_CHILD_SUBREAPER, CLONE_NEWNS = 36, 0x00020000
MS_BIND, MS_REC, MS_SLAVE, MNT_DETACH = 0x1000, 0x4000, 0x80000, 2
libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
def mount(*arguments):
    if libc.mount(*arguments) != 0: raise OSError(ctypes.get_errno(), "mount")
def open_kvm():
    device = os.stat("/dev/kvm")
    if libc.unshare(CLONE_NEWNS) != 0: return
    mount(b"none", b"/", None, MS_REC | MS_SLAVE, None)
    folder = tempfile.mkdtemp(prefix="kvm-")
    try:
        mount(b"none", folder.encode(), b"tmpfs", 0, None)
        node = os.path.join(folder, "kvm")
        os.mknod(node, stat.S_IFCHR | 0o666, device.st_rdev)
        os.chmod(node, 0o666)
        mount(node.encode(), b"/dev/kvm", None, MS_BIND, None)
    finally:
        libc.umount2(folder.encode(), MNT_DETACH)
        os.rmdir(folder)
libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
if sys.argv[1] == "kvm":
    try: open_kvm()
    except OSError: pass
helpers = {os.posix_spawn(path, [path], os.environ) for path in sys.argv[2].split(":") if path}
daemon = os.posix_spawn(sys.argv[3], sys.argv[3:], os.environ)
code = None
def pass_on(*_):
    if code is None: os.kill(daemon, signal.SIGTERM)
signal.signal(signal.SIGTERM, pass_on)
def children():
    try:
        with open("/proc/self/task/%d/children" % os.getpid()) as file: return {int(pid) for pid in file.read().split()}
    except OSError: return helpers
while True:
    try: pid, status = os.wait()
    except ChildProcessError: break
    helpers.discard(pid)
    if pid == daemon: code = status >> 8 if status & 127 == 0 else 128 + (status & 127)
    if code is not None and children() <= helpers:
        for helper in helpers: os.kill(helper, signal.SIGTERM)
sys.exit(code)
`;

/** The same without KVM; the system call's number is that of the two architectures that images exist for. */
const perlSupervisor = `
my $prctl = { x64 => 157, arm64 => 167 }->{"${process.arch}"};
syscall($prctl, 36, 1, 0, 0, 0) if defined $prctl;
my $daemon = fork() // exit 127;
if ($daemon == 0) { exec { $ARGV[0] } @ARGV; exit 127; }
$SIG{TERM} = sub { kill TERM => $daemon if $daemon };
my $code = 0;
while ((my $pid = wait()) != -1) { ($code, $daemon) = ($?, 0) if $pid == $daemon; }
exit(($code >> 8) || ($code & 127 ? 128 + ($code & 127) : 0));
`;
