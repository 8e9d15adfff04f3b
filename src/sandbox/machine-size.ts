/** How big a sandbox may be, and the named sizes. */
import { availableParallelism, totalmem } from "node:os";

import type { SizeClass } from "../config/machine-kinds.ts";
import { formatSize } from "../config/size.ts";
import { InvalidArgumentError } from "../errors/index.ts";
import { leastMemoryOf } from "../images/index.ts";

const MiB = 2 ** 20;
const GiB = 2 ** 30;

/** A hypervisor has no fraction of a CPU. */
const sizes: Readonly<Record<SizeClass, { cpus: number; memoryBytes: number }>> = {
  micro: { cpus: 0.25, memoryBytes: GiB / 2 },
  mini: { cpus: 0.5, memoryBytes: GiB },
  small: { cpus: 1, memoryBytes: 2 * GiB },
  medium: { cpus: 2, memoryBytes: 4 * GiB },
  large: { cpus: 4, memoryBytes: 8 * GiB },
};

export interface SizeRequest {
  cpus?: number | undefined;
  memoryBytes?: number | undefined;
  diskBytes?: number | undefined;
  sizeClass?: SizeClass | undefined;
}

export interface MachineSize {
  cpus: number;
  memoryBytes: number;
  diskBytes: number | undefined;
  warnings: string[];
}

const leastMemoryBytes = 64 * MiB;
const diskRange = [64 * MiB, 16 * 1024 * GiB] as const;
/** More virtual CPUs than this per real one only make a guest slower. */
const cpuOvercommit = 8;

/** Fills in size class and defaults, and checks the bounds. `image`: the reference of what is to boot. Throws `invalid_argument`. */
export function resolveSize(
  request: SizeRequest,
  defaults: { cpus: number; memoryBytes: number },
  image?: string,
): MachineSize {
  const warnings: string[] = [];
  const sizeClass = request.sizeClass === undefined ? undefined : sizes[request.sizeClass];
  const asked = request.cpus ?? sizeClass?.cpus ?? defaults.cpus;
  checkCpus(asked);
  // An unprivileged libvirt cannot set quotas, so a part of a CPU is a whole one.
  const cpus = Math.ceil(asked);
  if (cpus !== asked) {
    const whole = cpus === 1 ? "1 whole virtual CPU" : `${cpus} whole virtual CPUs`;
    warnings.push(`asked for ${asked} CPUs, the sandbox has ${whole}`);
  }
  if (cpus > availableParallelism()) {
    warnings.push(`${cpus} virtual CPUs share the ${availableParallelism()} of this host`);
  }
  const memoryBytes = request.memoryBytes ?? sizeClass?.memoryBytes ?? defaults.memoryBytes;
  checkBytes("memory", memoryBytes, leastMemoryBytes, totalmem(), "all that this host has");
  checkBoots(memoryBytes, image);
  if (request.diskBytes !== undefined)
    checkBytes("disk", request.diskBytes, ...diskRange, "the largest disk");
  return { cpus, memoryBytes, diskBytes: request.diskBytes, warnings };
}

function checkCpus(cpus: number): void {
  const most = Math.min(255, availableParallelism() * cpuOvercommit);
  if (cpus > 0 && cpus <= most) return;
  throw new InvalidArgumentError("cpus", `cpus is ${cpus}: more than 0, and at most ${most}, is allowed`, {
    hint: "leave it out for 1",
    details: { above: 0, maximum: most },
  });
}

/** A guest with too little memory panics in its boot, which is seen only then. */
function checkBoots(memoryBytes: number, image: string | undefined): void {
  const minimum = image === undefined ? undefined : leastMemoryOf(image);
  if (minimum === undefined || memoryBytes >= minimum) return;
  throw new InvalidArgumentError(
    "memory",
    `memory is ${formatSize(memoryBytes)}: ${image} does not boot with less than ${formatSize(minimum)}`,
    { hint: "--memory 1G, or more in the setting memory", details: { minimum } },
  );
}

function checkBytes(field: string, value: number, minimum: number, maximum: number, maximumIs: string): void {
  if (Number.isInteger(value) && value >= minimum && value <= maximum) return;
  throw new InvalidArgumentError(
    field,
    `${field} is ${value} bytes: from ${formatSize(minimum)} to ${formatSize(maximum)} (${maximumIs}) is allowed`,
    { hint: `give bytes, or a size such as 1G on the command line`, details: { minimum, maximum } },
  );
}
