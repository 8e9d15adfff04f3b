/** What a domain carries about itself, so that it is found again after the daemon died and people know whose it is. */
import { XMLParser } from "fast-xml-parser";

import type { MachineSpec } from "../backend.ts";

/** Namespace of our element in `<metadata>`. */
export const metadataNamespace = "https://heyvm.dev/xmlns/libvirt/machine/1";

/** Identifies a process for as long as its host is up. */
export interface ProcessMark {
  host: string;
  bootId: string;
  pid: number;
  /** Field 22 of `/proc/<pid>/stat`: tells a process from a later one with the same id. */
  startTicks: string;
}

interface CommonMetadata {
  /** `sb-…` or `preparing-…` */
  id: string;
  /** Whose machine it is: two state folders may share one libvirt. */
  owner: string;
}

export interface SandboxMetadata extends CommonMetadata {
  kind: "sandbox";
  spec: MachineSpec;
  /** Socket of the passt that serves the machine's network. */
  passtSocket?: string | undefined;
}

export interface PreparationMetadata extends CommonMetadata {
  kind: "preparation";
  key: string;
  build: string;
  /** Who prepares. When this process is gone, so is the point of the machine. */
  maker: ProcessMark;
}

export type DomainMetadata = SandboxMetadata | PreparationMetadata;

/** The children of `<metadata>`, for the XML builder. */
export function metadataElement(metadata: DomainMetadata): Record<string, unknown> {
  const { kind, id, owner, ...data } = metadata;
  return {
    "heyvm:machine": {
      "@xmlns:heyvm": metadataNamespace,
      "@kind": kind,
      "@id": id,
      "@owner": owner,
      "heyvm:data": JSON.stringify(data),
    },
  };
}

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "@",
  parseTagValue: false,
  parseAttributeValue: false,
});

/** Reads our element back from a domain's XML; `undefined` for a domain that is not ours or that somebody has edited. */
export function readMetadata(domainXml: string): DomainMetadata | undefined {
  const machine = child(child(child(parser.parse(domainXml), "domain"), "metadata"), "heyvm:machine");
  const data = machine?.["heyvm:data"];
  if (machine === undefined || typeof data !== "string") return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(data);
  } catch {
    return undefined;
  }
  const { "@id": id, "@kind": kind, "@owner": owner } = machine;
  if (typeof id !== "string" || typeof owner !== "string" || typeof parsed !== "object" || parsed === null) {
    return undefined;
  }
  if (kind === "sandbox" && "spec" in parsed) {
    // Written by `metadataElement` under this namespace's version.
    return { ...(parsed as Omit<SandboxMetadata, keyof CommonMetadata>), kind, id, owner };
  }
  if (kind === "preparation" && "maker" in parsed) {
    return { ...(parsed as Omit<PreparationMetadata, keyof CommonMetadata>), kind, id, owner };
  }
  return undefined;
}

function child(node: unknown, name: string): Record<string, unknown> | undefined {
  if (typeof node !== "object" || node === null) return undefined;
  // An object from the XML parser: its keys are element and attribute names.
  const value = (node as Record<string, unknown>)[name];
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}
