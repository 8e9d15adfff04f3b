/** Whether bubblewrap may make the namespaces of a sandbox here: tried, because no file or setting tells. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import type { DoctorCheck } from "../../backend.ts";
import { findProgram, runHostProgram } from "../program.ts";
import { remedies } from "./remedies.ts";

export interface NamespaceCheckOptions {
  bwrap?: string | undefined;
  /** Where the kernel's settings are; `/proc/sys`. */
  settingsFolder?: string | undefined;
}

const trialTimeoutMs = 10_000;

/** The same namespaces as a sandbox without a network has: that of the network is refused on some hosts alone. */
const trial = ["--unshare-user", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"];

/** Kernel settings that refuse namespaces, each with the value that does. */
const refusals = [
  {
    setting: "kernel/apparmor_restrict_unprivileged_userns",
    refuses: "1",
    remedy: remedies.allowNamespacesInAppArmor,
  },
  { setting: "kernel/unprivileged_userns_clone", refuses: "0", remedy: remedies.allowNamespacesInKernel },
  { setting: "user/max_user_namespaces", refuses: "0", remedy: remedies.allowSomeNamespaces },
];

/** A warning at the most: libvirt's machines need no namespaces. */
export async function namespaceCheck(
  { bwrap = "bwrap", settingsFolder = "/proc/sys" }: NamespaceCheckOptions,
  signal: AbortSignal,
): Promise<DoctorCheck> {
  const check = { id: "host.user_namespaces", title: "bubblewrap makes user namespaces" };
  const path = await findProgram(bwrap);
  if (path === undefined) {
    const message = "bwrap is not installed; libvirt's machines do without, bubblewrap's sandboxes need it";
    return { ...check, verdict: "warning", message, remedy: remedies.bubblewrap, fixable: true };
  }
  const failure = await tryNamespaces(path, signal);
  if (failure === undefined) {
    return { ...check, verdict: "ok", message: `${path} ran a program in namespaces`, fixable: false };
  }
  const refusal = await findRefusal(settingsFolder);
  const why =
    refusal === undefined
      ? "no kernel setting forbids it; in a container, its seccomp or AppArmor profile does"
      : `${refusal.setting.replace("/", ".")} is ${refusal.refuses}`;
  const message = `${path} is installed, and the kernel refuses it namespaces: ${failure} (${why})`;
  // What a host permits its users is for its owner to loosen, not for us.
  return { ...check, verdict: "warning", message, remedy: refusal?.remedy, fixable: false };
}

/** What went wrong, in bubblewrap's words. */
async function tryNamespaces(bwrap: string, signal: AbortSignal): Promise<string | undefined> {
  const program = (await findProgram("true")) ?? "true";
  try {
    await runHostProgram(bwrap, [...trial, program], { signal, timeoutMs: trialTimeoutMs });
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    const said =
      error instanceof Error && "stderr" in error ? String(error.stderr).trim().split("\n")[0] : "";
    if (said !== undefined && said !== "") return said;
    const late = error instanceof Error && "killed" in error && error.killed === true;
    return late ? `no end after ${trialTimeoutMs / 1000} s` : "it said nothing";
  }
}

async function findRefusal(settingsFolder: string): Promise<(typeof refusals)[number] | undefined> {
  for (const refusal of refusals) {
    const value = await readFile(join(settingsFolder, refusal.setting), "utf8").catch(() => "");
    if (value.trim() === refusal.refuses) return refusal;
  }
  return undefined;
}
