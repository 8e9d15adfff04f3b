/** Whether KVM really runs a guest here. Files, permissions and CPU flags do not tell: see `kvm-guest.ts`. */
import { spawn } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { arch } from "node:os";

import { AbortedError } from "../../../errors/index.ts";
import type { Architecture } from "../../../images/image.ts";
import { guestExitStatus, kvmGuestArguments, kvmGuestRom } from "./kvm-guest.ts";
import { type KvmVerdict, rememberedVerdict, verdictFile } from "./kvm-verdict.ts";
import { programVersion } from "../program.ts";

export interface KvmCheckOptions {
  /** Where the verdict is remembered: see `verdictFile`. */
  cachePath: string;
  devicePath?: string | undefined;
  emulator?: string | undefined;
  /** The age of a verdict that KVM does not work from which on a new one is waited for: see `rememberedVerdict`. */
  waitAfterMs?: number | undefined;
  /** How long the guest may take; a guest under working KVM needs a quarter of a second. */
  deadlineMs?: number | undefined;
}

const defaultDeadlineMs = 10_000;

/** The architecture of this host in libvirt's words. */
export function hostArchitecture(): Architecture {
  return arch() === "arm64" ? "aarch64" : "x86_64";
}

/** The emulator's usual name. */
export function emulatorName(architecture: Architecture): string {
  return `qemu-system-${architecture}`;
}

/** Returns what is remembered where it can; otherwise boots a tiny guest. */
export async function checkKvm(options: KvmCheckOptions, signal: AbortSignal): Promise<KvmVerdict> {
  const device = options.devicePath ?? "/dev/kvm";
  const opening = await openProblem(device);
  // Permissions change without a reboot: never remembered.
  if (opening !== undefined) return opening;
  const emulator = options.emulator ?? emulatorName(hostArchitecture());
  const version = await programVersion(emulator, signal);
  if (version === undefined)
    return { usable: false, problem: "qemu", message: `${emulator} is not installed` };
  const memory = await verdictFile(options.cachePath, [version, device]);
  const deadlineMs = options.deadlineMs ?? defaultDeadlineMs;
  const look = async (until: AbortSignal) => await bootGuest(emulator, deadlineMs, until);
  return await rememberedVerdict(memory, look, signal, options.waitAfterMs);
}

async function openProblem(device: string): Promise<KvmVerdict | undefined> {
  try {
    await access(device, constants.R_OK | constants.W_OK);
    return undefined;
  } catch (error) {
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    return missing
      ? { usable: false, problem: "missing", message: `${device} does not exist` }
      : { usable: false, problem: "permission", message: `${device} cannot be opened by this user` };
  }
}

async function bootGuest(emulator: string, deadlineMs: number, signal: AbortSignal): Promise<KvmVerdict> {
  if (hostArchitecture() !== "x86_64") return startOnly(emulator, deadlineMs, signal);
  // QEMU opens its input by name. What Node makes is a socket, which cannot be: a pipe can, and needs no room on a disk.
  const args = ["-c", 'cat | exec "$@"', "sh", emulator, ...kvmGuestArguments("kvm")];
  const end = await runFor("sh", args, deadlineMs, signal, kvmGuestRom());
  if (end.status === guestExitStatus) return { usable: true, message: "a guest ran under KVM" };
  const why =
    end.status === undefined
      ? `a guest under KVM hung for ${deadlineMs / 1000} s and was ended`
      : `QEMU could not run a guest under KVM: ${firstError(end.stderr)}`;
  return { usable: false, problem: "guest", message: why };
}

/** The first line that is no warning: what follows an error is mostly its consequence. */
function firstError(stderr: string): string {
  return (
    stderr.split("\n").find((line) => line.trim() !== "" && !/\bwarning\b/.test(line)) ?? "no reason given"
  );
}

/** On arm64 we have no tiny guest: that QEMU starts its virtual CPU under KVM has to do. */
async function startOnly(emulator: string, deadlineMs: number, signal: AbortSignal): Promise<KvmVerdict> {
  const args = ["-machine", "virt,accel=kvm", "-cpu", "host", "-S", "-nodefaults", "-display", "none"];
  const end = await runFor(emulator, [...args, "-monitor", "stdio"], deadlineMs, signal, "quit\n");
  return end.status === 0
    ? { usable: true, message: "QEMU started a virtual CPU under KVM" }
    : { usable: false, problem: "guest", message: `QEMU could not start under KVM: ${end.stderr.trim()}` };
}

/** How much longer than we the program `timeout` waits. */
const watchedSeconds = 5;

function killGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch {
    // It has ended.
  }
}

function runFor(
  program: string,
  args: readonly string[],
  deadlineMs: number,
  signal: AbortSignal,
  input: string | Buffer = "",
) {
  return new Promise<{ status: number | undefined; stderr: string }>((resolve, reject) => {
    // A guest that hangs must end also when this process is no more: so somebody else has an eye on it, too. (GNU's kills
    // its whole group; busybox's only the shell.)
    const watched = ["-s", "KILL", String(Math.ceil(deadlineMs / 1000) + watchedSeconds), program, ...args];
    const child = spawn("timeout", watched, { stdio: ["pipe", "ignore", "pipe"], detached: true });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr = (stderr + text).slice(-4096);
    });
    child.stdin.on("error", () => undefined).end(input);
    const kill = () => {
      if (child.pid !== undefined && child.exitCode === null) killGroup(child.pid);
    };
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      kill();
    }, deadlineMs);
    signal.addEventListener("abort", kill, { once: true });
    if (signal.aborted) kill();
    const release = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", kill);
    };
    child.once("error", (error) => {
      release();
      resolve({ status: -1, stderr: error.message });
    });
    child.once("close", (status) => {
      release();
      if (signal.aborted) reject(new AbortedError("the check of KVM", signal.reason));
      else resolve({ status: late ? undefined : (status ?? -1), stderr });
    });
  });
}
