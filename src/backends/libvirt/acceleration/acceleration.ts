/** Decides between KVM and software emulation for a machine. */
import { timeoutSignal } from "../../../core/deadline.ts";
import type { Architecture, Image } from "../../../images/image.ts";
import type { Accelerator } from "../domain/domain-xml.ts";
import { QemuMissingError } from "../errors.ts";
import type { LibvirtHost } from "../host.ts";
import { checkKvm, hostArchitecture } from "./kvm-check.ts";
import { tryKvm } from "./kvm-trial.ts";
import {
  type KvmVerdict,
  rememberedVerdict,
  verdictFile,
  verdictInMemory,
  type VerdictMemory,
} from "./kvm-verdict.ts";

export interface Acceleration {
  accelerator: Accelerator;
  /** Why it is slow, when it is. */
  warning?: string | undefined;
}

export interface AccelerationSettings {
  /** Whose the machine is that tries KVM: see `Ownership`. */
  owner: string;
  /** Where the verdict on KVM is remembered. */
  kvmVerdictPath: string;
}

/** KVM when libvirt offers it and a guest was seen running under it; else emulation and the reason. */
export async function chooseAcceleration(
  host: LibvirtHost,
  architecture: Architecture,
  { owner, kvmVerdictPath }: AccelerationSettings,
  signal: AbortSignal,
): Promise<Acceleration> {
  const { accelerators, qemuAccount } = await host.capabilities(signal);
  const offered = accelerators[architecture] ?? [];
  if (offered.length === 0) throw new QemuMissingError(architecture);
  const offersKvm = offered.includes("kvm");
  const notOffered = slow(`libvirt at ${host.uri} offers no KVM`);
  if (!host.isLocal)
    return offersKvm ? byVerdict(await tryOnce(host, owner, architecture, signal)) : notOffered;
  if (architecture !== hostArchitecture()) return slow(`this host is not ${architecture}`);
  const own = await checkKvm({ cachePath: kvmVerdictPath }, signal);
  // What is closed to us may be open to QEMU's user.
  const mayWorkForQemu = own.problem === "permission" && qemuAccount !== undefined;
  if (!own.usable && !mayWorkForQemu) return byVerdict(own);
  if (!offersKvm) return notOffered;
  return byVerdict(
    own.usable ? own : await tryOnce(host, owner, architecture, signal, `${kvmVerdictPath}.libvirt`),
  );
}

/** Longer than a guest that hangs is given. Shared by all who wait, so no one's signal ends it. */
const trialTimeoutMs = 60_000;
/** Those under way, by host. */
const trials = new WeakMap<LibvirtHost, Promise<KvmVerdict>>();
const verdicts = new WeakMap<LibvirtHost, VerdictMemory>();

/** The verdict of `tryKvm`, remembered in a file where the host is this one. */
async function tryOnce(
  host: LibvirtHost,
  owner: string,
  architecture: Architecture,
  signal: AbortSignal,
  rememberAt?: string,
): Promise<KvmVerdict> {
  // There is no tiny guest for arm64: what libvirt says is believed.
  if (architecture !== "x86_64") return { usable: true, message: "libvirt offers KVM" };
  const memory =
    rememberAt === undefined
      ? (verdicts.get(host) ?? verdictInMemory())
      : await verdictFile(rememberAt, [host.uri]);
  if (rememberAt === undefined) verdicts.set(host, memory);
  const look = async () => {
    const trial = trials.get(host) ?? tryKvm(host, owner, timeoutSignal(trialTimeoutMs));
    trials.set(host, trial);
    return await trial.finally(() => trials.delete(host));
  };
  return await rememberedVerdict(memory, look, signal);
}

function byVerdict({ usable, message }: KvmVerdict): Acceleration {
  return usable ? { accelerator: "kvm" } : slow(message);
}

function slow(why: string): Acceleration {
  return { accelerator: "tcg", warning: `software emulation, ten to twenty times slower than KVM: ${why}` };
}

/** The same for an image, as preparations ask for it. */
export function acceleratorFor(host: LibvirtHost, settings: AccelerationSettings) {
  return async (image: Image, signal: AbortSignal): Promise<Accelerator> => {
    return (await chooseAcceleration(host, image.architecture, settings, signal)).accelerator;
  };
}
