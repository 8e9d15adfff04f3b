/** Whether KVM really runs a guest here. Files, permissions and CPU flags do not tell: see `kvm-guest.ts`. */
import { spawn } from "node:child_process";
import { access, constants, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { arch, release, tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { z } from "zod";

import { writeFileAtomic } from "../../config/atomic-file.ts";
import { AbortedError } from "../../errors/index.ts";
import type { Architecture } from "../../images/image.ts";
import { parseJson } from "./domain-metadata.ts";
import { hostBootId } from "./process-mark.ts";
import { guestExitStatus, kvmGuestArguments, kvmGuestDisk } from "./kvm-guest.ts";
import { programVersion } from "./program.ts";

const kvmVerdict = z.object({
  usable: z.boolean(),
  /** What was seen, for people. */
  message: z.string(),
  /** `missing`, `permission`: of the device. `guest`: it opens, and no guest runs. */
  problem: z.enum(["missing", "permission", "guest", "qemu"]).optional(),
});

export type KvmVerdict = z.infer<typeof kvmVerdict>;

export interface KvmCheckOptions {
  /** Where the verdict is remembered; it holds for this boot of the host, its kernel and this QEMU. */
  cachePath: string;
  devicePath?: string | undefined;
  emulator?: string | undefined;
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

/** Answers from memory where it can; otherwise boots a tiny guest. */
export async function checkKvm(options: KvmCheckOptions, signal: AbortSignal): Promise<KvmVerdict> {
  const device = options.devicePath ?? "/dev/kvm";
  const opening = await openProblem(device);
  // Permissions change without a reboot: never remembered.
  if (opening !== undefined) return opening;
  const emulator = options.emulator ?? emulatorName(hostArchitecture());
  const version = await programVersion(emulator, signal);
  if (version === undefined)
    return { usable: false, problem: "qemu", message: `${emulator} is not installed` };
  return rememberedVerdict(options.cachePath, [version, device], () =>
    bootGuest(emulator, options.deadlineMs ?? defaultDeadlineMs, signal),
  );
}

/** The verdict that was written there for the same `inputs`, this boot of the host and this kernel; else a new one. */
export async function rememberedVerdict(
  path: string,
  inputs: readonly string[],
  look: () => Promise<KvmVerdict>,
): Promise<KvmVerdict> {
  const key = JSON.stringify([await hostBootId(), release(), ...inputs]);
  const known = await readVerdict(path, key);
  if (known !== undefined) return known;
  const verdict = await look();
  // On a full disk it is found out again the next time.
  await writeVerdict(path, key, verdict).catch(() => undefined);
  return verdict;
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
  const folder = await mkdtemp(join(tmpdir(), "heyvm-kvm-"));
  try {
    const disk = join(folder, "disk");
    await writeFile(disk, kvmGuestDisk());
    const end = await runFor(emulator, kvmGuestArguments("kvm", disk), deadlineMs, signal);
    if (end.status === guestExitStatus) return { usable: true, message: "a guest ran under KVM" };
    const why =
      end.status === undefined
        ? `a guest under KVM hung for ${deadlineMs / 1000} s and was ended`
        : `QEMU could not run a guest under KVM: ${firstError(end.stderr)}`;
    return { usable: false, problem: "guest", message: why };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
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

function runFor(
  program: string,
  args: readonly string[],
  deadlineMs: number,
  signal: AbortSignal,
  input = "",
) {
  return new Promise<{ status: number | undefined; stderr: string }>((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["pipe", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr = (stderr + text).slice(-4096);
    });
    child.stdin.on("error", () => undefined).end(input);
    const kill = () => child.kill("SIGKILL");
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      kill();
    }, deadlineMs);
    signal.addEventListener("abort", kill, { once: true });
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

async function readVerdict(path: string, key: string): Promise<KvmVerdict | undefined> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  const stored = z.object({ key: z.literal(key), verdict: kvmVerdict }).safeParse(parseJson(text));
  return stored.success ? stored.data.verdict : undefined;
}

async function writeVerdict(path: string, key: string, verdict: KvmVerdict): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFileAtomic(path, JSON.stringify({ key, verdict }));
}
