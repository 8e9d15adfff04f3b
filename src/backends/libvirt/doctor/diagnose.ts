/** Everything that the libvirt backend asks of its host. */
import { toHeyvmError } from "../../../errors/index.ts";
import type { DoctorCheck } from "../../backend.ts";
import type { LibvirtHost } from "../host.ts";
import { folderChecks, groupChecks, kvmCheck, programChecks, roomChecks } from "./host-checks.ts";
import { findProgram } from "../program.ts";
import { namespaceCheck } from "./namespace-check.ts";
import { remedies } from "./remedies.ts";

/** Runs all checks; a check that fails does not keep the others from running. */
export async function diagnoseHost(
  host: LibvirtHost,
  kvmVerdictPath: string,
  imageFolders: readonly string[],
  signal: AbortSignal,
): Promise<DoctorCheck[]> {
  const connection = await connectionCheck(host, signal);
  const storage = connection.verdict === "ok" ? await host.storage(signal).catch(() => undefined) : undefined;
  const room = storage?.folder ?? imageFolders.at(-1) ?? "/";
  const checks = [connection];
  if (host.isLocal) checks.push(await kvmCheck({ cachePath: kvmVerdictPath }, signal));
  checks.push(...(await programChecks(signal)), ...(await groupChecks(host.uri)));
  if (host.isLocal) checks.push(...(await roomChecks(room)));
  checks.push(...(await folderChecks(imageFolders)), await namespaceCheck({}, signal));
  return checks;
}

async function connectionCheck(host: LibvirtHost, signal: AbortSignal): Promise<DoctorCheck> {
  const check = { id: "libvirt.connection", title: `libvirt answers at ${host.uri}` };
  try {
    const { accelerators } = await host.capabilities(signal);
    const can = Object.entries(accelerators).map(([name, kinds]) => `${name} (${kinds.join(", ")})`);
    if (can.length === 0) {
      const message = "libvirt answers and has no QEMU";
      return { ...check, verdict: "failure", message, remedy: remedies.qemu, fixable: true };
    }
    const message = [`runs ${can.join(", ")}`, ...host.warnings()].join("; ");
    return { ...check, verdict: "ok", message, fixable: false };
  } catch (error) {
    signal.throwIfAborted();
    const { code, message } = toHeyvmError(error);
    const remedy =
      code === "permission_denied"
        ? remedies.libvirtGroup
        : (await hasDaemon())
          ? remedies.libvirtStart
          : remedies.libvirt;
    return { ...check, verdict: "failure", message, remedy, fixable: host.isLocal };
  }
}

async function hasDaemon(): Promise<boolean> {
  return (await findProgram("libvirtd")) !== undefined || (await findProgram("virtqemud")) !== undefined;
}
