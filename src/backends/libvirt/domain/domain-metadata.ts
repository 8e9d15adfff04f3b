/** What a domain carries about itself, so that it is found again after the daemon died and people know whose it is. */
import { z } from "zod";

import { sandboxTypes } from "../../../config/machine-kinds.ts";
import { attributeOf, elementsAt, parseXml, textOf } from "./xml.ts";

/** Namespace of our element in `<metadata>`; its last part is the version of what is in it. */
export const metadataNamespace = "https://heyvm.dev/xmlns/libvirt/machine/1";

const machineSpec = z.object({
  id: z.string(),
  name: z.string(),
  type: z.enum(sandboxTypes),
  image: z
    .object({
      reference: z.string(),
      path: z.string(),
      format: z.enum(["qcow2", "raw"]),
      virtualSizeBytes: z.number(),
      fingerprint: z.string(),
      architecture: z.enum(["x86_64", "aarch64"]),
    })
    .optional(),
  cpus: z.number(),
  memoryBytes: z.number(),
  diskBytes: z.number().optional(),
  mounts: z.array(z.object({ hostPath: z.string(), guestPath: z.string(), readOnly: z.boolean() })),
  network: z.boolean(),
});

export const processMark = z.object({
  host: z.string(),
  bootId: z.string(),
  pid: z.number(),
  /** Field 22 of `/proc/<pid>/stat`: tells a process from a later one with the same id. */
  startTicks: z.string(),
});

/** Identifies a process for as long as its host is up. */
export type ProcessMark = z.infer<typeof processMark>;

const sandboxData = z.object({ spec: machineSpec });

const preparationData = z.object({
  key: z.string(),
  build: z.string(),
  /** Who prepares. When this process is gone, so is the point of the machine. */
  maker: processMark,
});

const shellData = z.object({ maker: processMark });

interface CommonMetadata {
  /** `sb-…` or `preparing-…` */
  id: string;
  /** Whose machine it is, as two state folders may share one libvirt: see `Ownership`. */
  owner: string;
}

export type SandboxMetadata = CommonMetadata & { kind: "sandbox" } & z.infer<typeof sandboxData>;
export type PreparationMetadata = CommonMetadata & { kind: "preparation" } & z.infer<typeof preparationData>;
/** A machine that waits to become a sandbox's. */
export type ShellMetadata = CommonMetadata & { kind: "shell" } & z.infer<typeof shellData>;
export type DomainMetadata = SandboxMetadata | PreparationMetadata | ShellMetadata;

/** The children of `<metadata>`, for the XML builder. */
export function metadataElement(metadata: DomainMetadata): Record<string, unknown> {
  const { kind, id, owner, ...data } = metadata;
  return {
    "heyvm:machine": {
      "@xmlns:heyvm": metadataNamespace,
      "@kind": kind,
      "@id": id,
      "@owner": owner,
      "heyvm:data": asciiJson(data),
    },
  };
}

/** XML cannot hold every character that a name may have; escaped, JSON can. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** Whose a domain is, also when the rest of its metadata cannot be read; `undefined` without a mark. */
export function ownerOf(domainXml: string): string | undefined {
  return attributeOf(machineElement(domainXml), "owner");
}

/** The UUID of a domain. */
export function uuidOf(domainXml: string): string | undefined {
  return textOf(elementsAt(parseXml(domainXml), "domain")[0], "uuid");
}

function machineElement(domainXml: string) {
  return elementsAt(parseXml(domainXml), "domain", "metadata", "heyvm:machine")[0];
}

/** Reads our element back from a domain's XML; `undefined` for a domain that is not ours or that somebody has edited. */
export function readMetadata(domainXml: string): DomainMetadata | undefined {
  const machine = machineElement(domainXml);
  const id = attributeOf(machine, "id");
  const owner = attributeOf(machine, "owner");
  const kind = attributeOf(machine, "kind");
  if (id === undefined || owner === undefined) return undefined;
  const json = parseJson(textOf(machine, "heyvm:data"));
  if (kind === "sandbox") {
    const data = sandboxData.safeParse(json);
    return data.success ? { kind, id, owner, ...data.data } : undefined;
  }
  if (kind === "preparation") {
    const data = preparationData.safeParse(json);
    return data.success ? { kind, id, owner, ...data.data } : undefined;
  }
  if (kind === "shell") {
    const data = shellData.safeParse(json);
    return data.success ? { kind, id, owner, ...data.data } : undefined;
  }
  return undefined;
}

/** Parses JSON that somebody may have damaged. */
export function parseJson(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
