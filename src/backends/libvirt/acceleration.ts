/** Decides between KVM and software emulation for a machine. */
import type { Architecture, Image } from "../../images/image.ts";
import type { Accelerator } from "./domain-xml.ts";
import { QemuMissingError } from "./errors.ts";
import type { LibvirtHost } from "./host.ts";
import { checkKvm, hostArchitecture } from "./kvm-check.ts";

export interface Acceleration {
  accelerator: Accelerator;
  /** Why it is slow, when it is. */
  warning?: string | undefined;
}

/** KVM when libvirt offers it and a guest was seen running under it; else emulation and the reason. */
export async function chooseAcceleration(
  host: LibvirtHost,
  architecture: Architecture,
  kvmVerdictPath: string,
  signal: AbortSignal,
): Promise<Acceleration> {
  const { accelerators, qemuAccount } = await host.capabilities(signal);
  const offered = accelerators[architecture] ?? [];
  if (offered.length === 0) throw new QemuMissingError(architecture);
  if (!host.isLocal) {
    // What cannot be tried from here is believed.
    return offered.includes("kvm") ? { accelerator: "kvm" } : slow("libvirt's host offers no KVM");
  }
  if (architecture !== hostArchitecture()) return slow(`this host is not ${architecture}`);
  const verdict = await checkKvm({ cachePath: kvmVerdictPath }, signal);
  if (verdict.usable && offered.includes("kvm")) return { accelerator: "kvm" };
  // The device is closed to us and may be open to QEMU's user, which libvirt knows.
  if (verdict.problem === "permission" && qemuAccount !== undefined && offered.includes("kvm")) {
    return { accelerator: "kvm" };
  }
  return slow(verdict.usable ? "libvirt does not offer KVM" : verdict.message);
}

function slow(why: string): Acceleration {
  return { accelerator: "tcg", warning: `software emulation, ten to twenty times slower than KVM: ${why}` };
}

/** The same for an image, as preparations ask for it. */
export function acceleratorFor(host: LibvirtHost, kvmVerdictPath: string) {
  return async (image: Image, signal: AbortSignal): Promise<Accelerator> => {
    return (await chooseAcceleration(host, image.architecture, kvmVerdictPath, signal)).accelerator;
  };
}
