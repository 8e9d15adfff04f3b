/** A machine that begins where its template was frozen. */
import { connectAgent } from "../../../agent/index.ts";
import type { AgentSession } from "../../../agent/types.ts";
import { HeyvmError } from "../../../errors/index.ts";
import { domainEnd } from "../domain/domain-end.ts";
import { laterDevices, maxCloneMounts } from "../domain/domain-devices.ts";
import { buildDomainXml, type DomainShape } from "../domain/domain-xml.ts";
import { runInGuest } from "../preparation/guest-command.ts";
import { guestFolder } from "../../guest/guest-service.ts";
import type { Domains, LibvirtHost } from "../host.ts";
import { agentChannel } from "../../guest/guest-service.ts";
import { type Growth, plugIn, takeIn } from "./growth.ts";
import { writeState } from "./machine-state.ts";
import { damageOf, isPublished, type Template } from "./template-files.ts";

export interface CloneRequest {
  /** As it was defined to boot, which it will when it is started again, but of its template's size. */
  shape: DomainShape;
  /** What it is larger by than its template. */
  growth: Growth | undefined;
  /** The volume of its own disk. */
  disk: string;
  /** Larger than the template's disk, or absent. */
  diskBytes: number | undefined;
  template: Template;
  state: Buffer;
  /** Whether its agent has to answer before it counts as started: no clone of this template has, so far. */
  mustAnswer: boolean;
}

/** Somebody removed or changed the template while a machine was cloned from it. */
export class TemplateGoneError extends HeyvmError {
  constructor(key: string, why: string) {
    super("wrong_state", `template ${key} cannot be used any more: ${why}`, {
      hint: "create the sandbox again: it gets a new template",
    });
  }
}

/** The guest could not go on with the memory and the state that it was given. */
export class CloneResetError extends HeyvmError {
  constructor() {
    super("guest_failed", "its guest reset instead of going on");
  }
}

const agentTimeoutMs = 60_000;
const growTimeoutMs = 300_000;

/** More mounts than a clone has ports for. */
export function tooManyMounts(count: number): string | undefined {
  return count > maxCloneMounts ? `a clone has room for ${maxCloneMounts} mounts, not ${count}` : undefined;
}

/** Makes the disk and launches a machine that waits for its template's state. The caller undoes it when this fails. */
export async function launchClone(
  host: LibvirtHost,
  { shape, disk, template }: Pick<CloneRequest, "shape" | "disk" | "template">,
  signal: AbortSignal,
): Promise<void> {
  const storage = await host.storage(signal);
  const path = storage.path(template.files.ram);
  await storage.copy(template.files.blank, disk, signal);
  // From here on whoever removes the template sees that a machine stands on it; did somebody begin before?
  if (!(await isPublished(storage, template, signal))) {
    throw new TemplateGoneError(template.key, "it was removed");
  }
  await host.domains.startPaused(buildDomainXml({ ...shape, memoryImage: { path, use: "private" } }), signal);
}

/** Lets a machine that was launched begin where its template was frozen. The caller undoes it when this fails. */
export async function thawClone(
  host: LibvirtHost,
  clone: Omit<CloneRequest, "disk">,
  runtimeFolder: string,
  signal: AbortSignal,
): Promise<void> {
  const { shape, growth, diskBytes, template, state, mustAnswer } = clone;
  const { domains } = host;
  // QEMU has opened the files: these are the ones that it will use.
  const damage = await damageOf(await host.storage(signal), template);
  if (damage !== undefined) throw new TemplateGoneError(template.key, damage);
  await writeState(domains, shape.name, state, runtimeFolder, signal);
  if (growth === undefined && diskBytes === undefined && !mustAnswer) {
    await resume(domains, shape, signal);
    return;
  }
  await whileItGoesOn(domains, shape.name, signal, async (signal) => {
    await resume(domains, shape, signal);
    if (growth !== undefined) await plugIn(domains, shape.name, growth, signal);
    // libvirt's name for the first disk's format node.
    const resize = { "node-name": "libvirt-1-format", size: diskBytes };
    if (diskBytes !== undefined) await domains.monitor(shape.name, "block_resize", resize, signal);
    await withAgent(host, shape.name, signal, (agent) => takeInHardware(agent, clone, signal));
  });
}

async function resume(domains: Domains, shape: DomainShape, signal: AbortSignal): Promise<void> {
  await domains.resume(shape.name, signal);
  await Promise.all(
    laterDevices(shape.mounts, shape.network).map((device) =>
      domains.monitor(shape.name, "device_add", device, signal),
    ),
  );
}

/** The guest's part of becoming larger than its template. */
async function takeInHardware(
  agent: AgentSession,
  { shape, growth, diskBytes }: Pick<CloneRequest, "shape" | "growth" | "diskBytes">,
  signal: AbortSignal,
): Promise<void> {
  if (growth !== undefined) {
    const vcpus = shape.vcpus + growth.vcpus;
    const memoryBytes = shape.memoryBytes + growth.memoryBytes;
    await takeIn(agent, { vcpus, memoryBytes }, growth, signal);
  }
  // As at a boot: a file system that cannot be grown stays as it is.
  const grow = `${guestFolder}/grow-root.sh`;
  if (diskBytes !== undefined) await runInGuest(agent, grow, growTimeoutMs, signal, { check: false });
}

/** The work ends when the guest does not go on where its template was: it ends, or begins anew. */
async function whileItGoesOn(
  domains: Domains,
  domain: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const reset = new AbortController();
  const unwatch = domains.onChange((changed, how) => {
    if (changed === domain && how === "rebooted") reset.abort(new CloneResetError());
  });
  await using end = domainEnd(domains, domain);
  const broken = AbortSignal.any([end.signal, reset.signal]);
  try {
    await work(AbortSignal.any([signal, broken]));
  } catch (error) {
    throw broken.aborted ? broken.reason : error;
  } finally {
    unwatch();
  }
}

async function withAgent(
  host: LibvirtHost,
  domain: string,
  signal: AbortSignal,
  work: (agent: AgentSession) => Promise<void>,
): Promise<void> {
  const agent = await connectAgent((signal) => host.domains.openChannel(domain, agentChannel, signal), {
    signal,
    timeoutMs: agentTimeoutMs,
  });
  try {
    await work(agent);
  } finally {
    await agent.close();
  }
}
