/** Everything that the libvirt backend asks of its host. */
import { toHeyvmError } from "../../../errors/index.ts";
import type { DoctorCheck } from "../../backend.ts";
import type { LibvirtHost } from "../host.ts";
import { folderChecks } from "./folder-checks.ts";
import { groupChecks, kvmCheck, programChecks, roomChecks } from "./host-checks.ts";
import { type CloningRecord, cloningCheck } from "./cloning-check.ts";
import { findProgram } from "../program.ts";
import { hostArchitecture } from "../acceleration/kvm-check.ts";
import { namespaceCheck } from "./namespace-check.ts";
import { joinGroup, remedies } from "./remedies.ts";

export interface DiagnosisOptions {
  /** Where is remembered what this host was found unable to do. */
  kvmVerdictPath: string;
  /** `undefined` when nobody wants clones. */
  cloning: CloningRecord | undefined;
}

/** Runs all checks; a check that fails does not keep the others from running. */
export async function diagnoseHost(
  host: LibvirtHost,
  { kvmVerdictPath, cloning }: DiagnosisOptions,
  imageFolders: readonly string[],
  signal: AbortSignal,
): Promise<DoctorCheck[]> {
  const connection = await connectionCheck(host, signal);
  const connects = connection.verdict === "ok";
  const storage = connects ? await host.storage(signal).catch(() => undefined) : undefined;
  const room = storage?.folder ?? imageFolders.at(-1) ?? "/";
  const checks = [connection];
  if (host.isLocal) {
    const offeredToOthers = connects && (await offersKvmToOthers(host, signal));
    checks.push(await kvmCheck({ cachePath: kvmVerdictPath, offeredToOthers }, signal));
  }
  checks.push(...(await programChecks(signal)), ...(await groupChecks(host.uri, connects)));
  if (host.isLocal) checks.push(...(await roomChecks(room)));
  if (connects && cloning !== undefined) checks.push(await cloningCheck(host, cloning, signal));
  checks.push(...(await folderChecks(imageFolders)), await namespaceCheck({}, signal));
  return checks;
}

async function connectionCheck(host: LibvirtHost, signal: AbortSignal): Promise<DoctorCheck> {
  const check = { id: "libvirt.connection", title: "Connection" };
  try {
    const { accelerators } = await host.capabilities(signal);
    const can = Object.entries(accelerators).map(([name, kinds]) => `${name} (${kinds.join(", ")})`);
    if (can.length === 0) {
      const message = `libvirt answers at ${host.uri} and has no QEMU`;
      return { ...check, verdict: "failure", message, remedy: remedies.qemu, fixable: host.isLocal };
    }
    const message = [`libvirt answers at ${host.uri} and runs ${can.join(", ")}`, ...host.warnings()].join(
      "; ",
    );
    return { ...check, verdict: "ok", message, fixable: false };
  } catch (error) {
    signal.throwIfAborted();
    const { code, message, hint } = toHeyvmError(error);
    const remedy = await connectionRemedy(host, code);
    const said = remedy === undefined && hint !== undefined ? `${message} (${hint})` : message;
    return { ...check, verdict: "failure", message: said, remedy, fixable: host.isLocal };
  }
}

async function connectionRemedy(host: LibvirtHost, code: string): Promise<DoctorCheck["remedy"]> {
  if (code === "permission_denied") return joinGroup("libvirt");
  if (!host.isLocal) return undefined;
  if (!(await hasDaemon())) return remedies.libvirt;
  // A session's own daemon is started by whoever connects: a service has no part in it.
  return host.uri.endsWith("/session") ? undefined : remedies.libvirtStart;
}

async function offersKvmToOthers(host: LibvirtHost, signal: AbortSignal): Promise<boolean> {
  const { accelerators, qemuAccount } = await host.capabilities(signal);
  return qemuAccount !== undefined && (accelerators[hostArchitecture()] ?? []).includes("kvm");
}

async function hasDaemon(): Promise<boolean> {
  return (await findProgram("libvirtd")) !== undefined || (await findProgram("virtqemud")) !== undefined;
}
