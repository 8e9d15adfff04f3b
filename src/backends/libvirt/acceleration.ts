/** Decides between KVM and software emulation for a machine. */
import type { Architecture, Image } from "../../images/image.ts";
import type { Accelerator } from "./domain-xml.ts";
import { QemuMissingError } from "./errors.ts";
import type { LibvirtHost } from "./host.ts";
import { checkKvm, hostArchitecture, type KvmVerdict, rememberedVerdict } from "./kvm-check.ts";
import { tryKvm } from "./kvm-trial.ts";

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
  if (host.isLocal && architecture !== hostArchitecture()) return slow(`this host is not ${architecture}`);
  if (!offered.includes("kvm")) return slow(`libvirt at ${host.uri} offers no KVM`);
  if (!host.isLocal)
    return byVerdict(
      await tryOnce(host, architecture, () => tryKvm(host, AbortSignal.timeout(trialTimeoutMs))),
    );
  const verdict = await checkKvm({ cachePath: kvmVerdictPath }, signal);
  // The device is closed to us and may be open to QEMU's user.
  if (verdict.problem !== "permission" || qemuAccount === undefined) return byVerdict(verdict);
  const path = `${kvmVerdictPath}.libvirt`;
  const look = () => tryKvm(host, AbortSignal.timeout(trialTimeoutMs));
  return byVerdict(await tryOnce(host, architecture, () => rememberedVerdict(path, [host.uri], look)));
}

/** Longer than a guest that hangs is given. Shared by all who wait, so no one's signal ends it. */
const trialTimeoutMs = 60_000;
/** Of each host, for as long as this process lives. */
const trials = new WeakMap<LibvirtHost, Promise<KvmVerdict>>();

async function tryOnce(
  host: LibvirtHost,
  architecture: Architecture,
  look: () => Promise<KvmVerdict>,
): Promise<KvmVerdict> {
  // There is no tiny guest for arm64: what libvirt says is believed.
  if (architecture !== "x86_64") return { usable: true, message: "libvirt offers KVM" };
  const known = trials.get(host) ?? look();
  trials.set(host, known);
  known.catch(() => trials.delete(host));
  return known;
}

function byVerdict({ usable, message }: KvmVerdict): Acceleration {
  return usable ? { accelerator: "kvm" } : slow(message);
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
