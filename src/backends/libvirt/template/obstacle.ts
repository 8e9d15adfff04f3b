/** Where machines cannot be cloned, and why. */
import { readFile, stat } from "node:fs/promises";

import { z } from "zod";

import { writeFileAtomic } from "../../../core/atomic-file.ts";
import { HeyvmError } from "../../../errors/index.ts";
import type { Architecture } from "../../../images/image.ts";
import { parseJson } from "../domain/domain-metadata.ts";
import type { LibvirtHost } from "../host.ts";

/** QEMU has no way to leave a machine's memory out of its state. */
export class CloningRefusedError extends HeyvmError {
  constructor(cause: unknown) {
    super("unsupported", "QEMU refuses the capability x-ignore-shared, which cloning needs", { cause });
  }
}

/** Nobody wants clones: nothing to tell while each sandbox is made. */
export const templatesAreOff = "templates are turned off (the setting templates.budget is 0)";

/** The reason why this host's machines have to boot, in words; `undefined` where they can be cloned. */
export async function obstacleToCloning(
  host: LibvirtHost,
  architecture: Architecture,
  refusalPath: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (!host.isLocal) return `a template's memory cannot be put on the host of ${host.uri}`;
  if (architecture !== "x86_64") return `cloning is not known to work on ${architecture}`;
  const { confinement, qemuAccount } = await host.capabilities(signal);
  if (confinement !== undefined) {
    return `libvirt confines QEMU by ${confinement} at ${host.uri}, which keeps it from a template's files`;
  }
  if (qemuAccount !== undefined) {
    return `QEMU runs as another user (${qemuAccount.uid}) at ${host.uri}, who cannot use our templates' files`;
  }
  return findRefusal(host, architecture, refusalPath, signal);
}

const refusalSchema = z.object({ emulator: z.string(), reason: z.string() });

/** Holds for this very build of QEMU: another may be able to. */
async function findRefusal(
  host: LibvirtHost,
  architecture: Architecture,
  path: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const found = refusalSchema.safeParse(parseJson(await readFile(path, "utf8").catch(() => undefined)));
  if (!found.success || found.data.emulator !== (await stampOfEmulator(host, architecture, signal)))
    return undefined;
  return found.data.reason;
}

/** That QEMU refused is found out by making a template, and not tried again. */
export async function rememberRefusal(
  host: LibvirtHost,
  architecture: Architecture,
  path: string,
  { message: reason }: CloningRefusedError,
  signal: AbortSignal,
): Promise<void> {
  const emulator = await stampOfEmulator(host, architecture, signal);
  await writeFileAtomic(path, JSON.stringify({ emulator, reason }));
}

/** Changes with the build of QEMU. */
export async function stampOfEmulator(
  host: LibvirtHost,
  architecture: Architecture,
  signal: AbortSignal,
): Promise<string> {
  const emulator = (await host.capabilities(signal)).emulators[architecture];
  const program = emulator === undefined ? undefined : await stat(emulator);
  return JSON.stringify([emulator, program?.size, program?.mtimeMs]);
}
