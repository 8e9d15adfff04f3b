/** What a template depends on: when any of it changes, it is another template. */
import { readFile } from "node:fs/promises";

import type { Architecture } from "../../../images/image.ts";
import { type Accelerator, buildDomainXml } from "../domain/domain-xml.ts";
import type { LibvirtHost } from "../host.ts";
import { shortHash } from "../names.ts";
import { stampOfEmulator } from "./obstacle.ts";
import { freezeRecipe } from "./settle.ts";

/** The machine that a template is frozen from, and that its clones are. */
export interface MachineShape {
  architecture: Architecture;
  accelerator: Accelerator;
  vcpus: number;
  memoryBytes: number;
  /** How large it can become while it runs; absent: it stays as it is. */
  room?: { vcpus: number; memoryBytes: number } | undefined;
}

/** 16 hex digits. `preparedDisk`: the volume, whose name is of one build alone. */
export async function templateKey(
  host: LibvirtHost,
  preparedDisk: string,
  shape: MachineShape,
  signal: AbortSignal,
): Promise<string> {
  const { libvirtVersion } = await host.capabilities(signal);
  return shortHash(
    JSON.stringify([
      preparedDisk,
      shape,
      // A migration's state is only good for the very build of QEMU that wrote it.
      await stampOfEmulator(host, shape.architecture, signal),
      libvirtVersion,
      shape.accelerator === "kvm" ? await hostCpu() : undefined,
      exampleXml(shape),
      freezeRecipe,
    ]),
  );
}

/** Changes with the way in which we describe a machine. */
function exampleXml(shape: MachineShape): string {
  return buildDomainXml({
    ...shape,
    name: "example",
    uuid: "00000000-0000-0000-0000-000000000000",
    metadata: { kind: "preparation", id: "", owner: "", key: "", build: "", maker: noProcess },
    title: "",
    disks: [{ path: "/disk", format: "qcow2", readOnly: false }],
    mounts: [],
    network: { kind: "none" },
    consoleLogPath: "/console",
    memoryImage: { path: "/memory", use: "written" },
  });
}

const noProcess = { host: "", bootId: "", pid: 0, startTicks: "" };

/** Under KVM the guest sees the host's own CPU. */
async function hostCpu(): Promise<string> {
  const lines = (await readFile("/proc/cpuinfo", "utf8")).split("\n");
  return ["model name", "flags", "microcode"]
    .map((field) => lines.find((line) => line.startsWith(field)))
    .join("\n");
}
