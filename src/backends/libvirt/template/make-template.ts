/** Makes one template: boots a prepared disk, waits until the guest rests, and freezes it. */
import { chmod, writeFile } from "node:fs/promises";

import { timeoutSignal } from "../../../core/deadline.ts";
import type { Step } from "../../../core/step.ts";
import type { Image } from "../../../images/image.ts";
import type { SandboxType } from "../../../config/machine-kinds.ts";
import { domainEnd } from "../domain/domain-end.ts";
import type { PreparationMetadata } from "../domain/domain-metadata.ts";
import { buildDomainXml } from "../domain/domain-xml.ts";
import { bootGuest, explainGuestFailure, type GuestBootOptions } from "../preparation/guest-boot.ts";
import type { LibvirtHost } from "../host.ts";
import { machineNames, uuidFor } from "../names.ts";
import { publishSharedDisk } from "../storage/shared-disk.ts";
import { readState } from "./machine-state.ts";
import { CloningRefusedError } from "./obstacle.ts";
import { endBoot, GuestRestlessError, waitForRest } from "./settle.ts";
import {
  findTemplate,
  removeTemplateFiles,
  sealState,
  stampTemplate,
  type Template,
  templateFiles,
} from "./template-files.ts";
import type { MachineShape } from "./template-key.ts";

export interface TemplateRequest {
  image: Image;
  type: SandboxType;
  /** The volume that it boots from. */
  preparedDisk: string;
  shape: MachineShape;
  metadata: PreparationMetadata;
}

export interface TemplateOptions extends GuestBootOptions {
  /** For sockets. */
  runtimeFolder: string;
}

/** Leaves the finished template, or nothing. Somebody else may have been faster: then theirs is the answer. */
export async function makeTemplate(
  host: LibvirtHost,
  request: TemplateRequest,
  options: TemplateOptions,
  onStep: (step: Step) => void,
  signal: AbortSignal,
): Promise<Template> {
  const { image, type, preparedDisk, shape, metadata } = request;
  const { key, build } = metadata;
  const storage = await host.storage(signal);
  const names = machineNames(metadata.id);
  const files = templateFiles(key, build);
  const what = `making the template of ${image.reference} for ${type}`;
  const step = async <T>(id: string, title: string, work: () => Promise<T>): Promise<T> => {
    const logPath = storage.path(names.consoleLog);
    onStep({ id, title, state: "started", logPath });
    const result = await work();
    onStep({ id, title, state: "done", logPath });
    return result;
  };
  try {
    // The domain first: it tells everyone whose the volumes are, should we die now.
    await host.domains.define(
      domainXml(request, storage.path(files.disk), storage.path(files.ram), storage.path(names.consoleLog)),
      signal,
    );
    const backing = { path: storage.path(preparedDisk), format: "qcow2" as const };
    await storage.createOverlay(files.disk, backing, image.virtualSizeBytes, signal);
    // QEMU would make it readable for all: it is a guest's memory.
    await writeFile(storage.path(files.ram), "", { flag: "wx", mode: 0o600 });
    await using end = domainEnd(host.domains, names.domain);
    const boot = <T>(work: Parameters<typeof bootGuest<T>>[5]) =>
      bootGuest(host, names, options, end, signal, work);
    await step("template-boot", `Making the template (once): booting ${image.reference}`, () =>
      boot((agent, alive) => endBoot(agent, shape.accelerator, alive)),
    );
    const state = await step(
      "template-freeze",
      "Making the template (once): freezing it when it rests",
      async () => {
        await waitForRest(host.domains, names.domain, what, signal);
        await host.domains.suspend(names.domain, signal);
        return readState(host.domains, names.domain, options.runtimeFolder, signal);
      },
    );
    // QEMU's end writes back what it holds of the disk.
    await host.domains.powerOff(names.domain, signal);
    const sealed = sealState(state);
    await storage.createFile(files.state, sealed.length, once(sealed), signal);
    await chmod(storage.path(files.state), 0o600);
    const own = { path: storage.path(files.disk), format: "qcow2" as const };
    await storage.createOverlay(files.blank, own, image.virtualSizeBytes, signal);
    const finished = {
      disk: files.disk,
      fingerprint: image.fingerprint,
      reference: image.reference,
      createdAt: new Date().toISOString(),
      template: { ...shape, type, preparedDisk, stamps: await stampTemplate(storage, files) },
    };
    const published = await publishSharedDisk(storage, "template", key, finished, signal);
    if (published.disk === files.disk) return { key, build, files, marker: finished };
    await removeTemplateFiles(storage, files, signal);
    const winner = await findTemplate(storage, key, signal);
    if (winner !== undefined) return winner;
    throw new Error(`the template that was finished before, ${published.disk}, has gone`);
  } catch (error) {
    const cleanup = timeoutSignal(60_000);
    await host.domains.powerOff(names.domain, cleanup).catch(() => undefined);
    await removeTemplateFiles(storage, files, cleanup).catch(() => undefined);
    if (error instanceof GuestRestlessError || error instanceof CloningRefusedError) throw error;
    throw await explainGuestFailure(host, names.consoleLog, key, what, options, error, signal);
  } finally {
    const cleanup = timeoutSignal(60_000);
    await host.domains.remove(names.domain, cleanup).catch(() => undefined);
    await storage.remove(names.consoleLog, cleanup).catch(() => undefined);
  }
}

function domainXml(
  { image, type, shape, metadata }: TemplateRequest,
  disk: string,
  ram: string,
  consoleLogPath: string,
): string {
  return buildDomainXml({
    ...shape,
    name: machineNames(metadata.id).domain,
    uuid: uuidFor(metadata.id),
    title: `heyvm: making a template of ${image.reference} for ${type}`,
    metadata,
    disks: [{ path: disk, format: "qcow2", readOnly: false }],
    mounts: [],
    network: { kind: "none" },
    consoleLogPath,
    memoryImage: { path: ram, use: "written" },
  });
}

async function* once(content: Buffer): AsyncGenerator<Buffer> {
  yield content;
}
