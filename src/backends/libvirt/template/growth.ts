/**
 * Clones of another size than their template: CPUs and memory are plugged in while they run. A template has to have been
 * booted with room for them, which costs its guest 70 MB (a guest that may have memory above 4 GiB keeps 64 MB of bounce
 * buffers); so the usual size has a template without room, and one with room serves all larger ones.
 */
import { z } from "zod";

import type { AgentSession } from "../../../agent/types.ts";
import { HeyvmError } from "../../../errors/index.ts";
import { runInGuest } from "../preparation/guest-command.ts";
import type { Domains } from "../host.ts";
import type { MachineShape } from "./template-key.ts";

/** What is plugged into a clone. */
export interface Growth {
  vcpus: number;
  memoryBytes: number;
}

const GiB = 1024 ** 3;
/** Each CPU that could come costs the guest 300 KB. */
const mostVcpus = 16;
const mostMemoryBytes = 64 * GiB;
/** Linux takes and gives memory in sections of this size (x86, `SECTION_SIZE_BITS`). */
const sectionBytes = 128 * 1024 ** 2;
const guestTimeoutMs = 60_000;

/** The machine of the template that a machine like this can grow out of; `undefined` for none. */
export function growableShape(
  usual: Pick<MachineShape, "vcpus" | "memoryBytes"> | undefined,
  wanted: MachineShape,
): MachineShape | undefined {
  if (usual === undefined || wanted.architecture !== "x86_64") return undefined;
  const more = wanted.memoryBytes - usual.memoryBytes;
  if (more < 0 || more % sectionBytes !== 0) return undefined;
  if (wanted.vcpus > mostVcpus || wanted.memoryBytes > mostMemoryBytes) return undefined;
  const room = { vcpus: mostVcpus, memoryBytes: mostMemoryBytes };
  return { ...wanted, vcpus: 1, memoryBytes: usual.memoryBytes, room };
}

export function growthTo(from: MachineShape, wanted: MachineShape): Growth {
  return { vcpus: wanted.vcpus - from.vcpus, memoryBytes: wanted.memoryBytes - from.memoryBytes };
}

/** The host's part: the devices are there when this ends, and the guest begins to notice them. */
export async function plugIn(
  domains: Domains,
  domain: string,
  { vcpus, memoryBytes }: Growth,
  signal: AbortSignal,
): Promise<void> {
  const ask = (command: string, args: Record<string, unknown>) =>
    domains.monitor(domain, command, args, signal);
  if (memoryBytes > 0) {
    await ask("object-add", { "qom-type": "memory-backend-ram", id: "heyvmmore", size: memoryBytes });
    await ask("device_add", { driver: "pc-dimm", id: "heyvmdimm", memdev: "heyvmmore" });
  }
  if (vcpus === 0) return;
  const free = slotsSchema
    .parse(await ask("query-hotpluggable-cpus", {}))
    .filter((slot) => slot["qom-path"] === undefined)
    // QEMU tells the last one first.
    .toReversed();
  if (free.length < vcpus) throw new HeyvmError("backend_failed", `QEMU has no room for ${vcpus} more CPUs`);
  for (const [index, { type, props }] of free.slice(0, vcpus).entries()) {
    await ask("device_add", { driver: type, id: `heyvmcpu${index + 1}`, ...props });
  }
}

/** Answer of QMP's `query-hotpluggable-cpus`: places for CPUs, those that have one with a `qom-path`. */
const slotsSchema = z.array(
  z.object({
    type: z.string(),
    props: z.record(z.string(), z.number()),
    "qom-path": z.string().optional(),
  }),
);

/** The guest's part: all of it is in use when this ends. `size`: of the whole machine. */
export async function takeIn(
  agent: AgentSession,
  size: Growth,
  growth: Growth,
  signal: AbortSignal,
): Promise<void> {
  // A kernel that cannot take more memory may still take CPUs.
  const wanted = { ...size, memoryBytes: growth.memoryBytes > 0 ? size.memoryBytes : 0 };
  await runInGuest(agent, takeInScript(wanted), guestTimeoutMs, signal);
}

/** Distributions differ in whether the kernel, udev or nobody puts to use what came. */
function takeInScript({ vcpus, memoryBytes }: Growth): string {
  return `set -eu
cd /sys/devices/system
all_there() {
  set -- cpu/cpu[0-9]*
  [ $# -ge ${vcpus} ] || return 1
  [ ${memoryBytes} -gt 0 ] || return 0
  set -- memory/memory[0-9]*
  [ $(($# * 0x$(cat memory/block_size_bytes))) -ge ${memoryBytes} ]
}
tries=500
until all_there; do
  tries=$((tries - 1))
  [ $tries -gt 0 ] || { echo "the kernel does not see what was plugged in" >&2; exit 1; }
  sleep 0.05
done
for block in memory/memory[0-9]*; do
  [ -e $block ] || continue
  read -r state < $block/state
  [ $state != offline ] || echo online > $block/state || true
  read -r state < $block/state
  [ $state = online ] || { echo "$block stays $state" >&2; exit 1; }
done
for cpu in cpu/cpu[0-9]*; do
  [ -e $cpu/online ] || continue
  read -r state < $cpu/online
  [ $state = 1 ] || echo 1 > $cpu/online || true
  read -r state < $cpu/online
  [ $state = 1 ] || { echo "$cpu stays offline" >&2; exit 1; }
done
`;
}
