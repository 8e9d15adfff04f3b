/** Templates on the daemon's host: machines that were booted once and frozen, of which sandboxes are clones. */
import type { BuildTemplateRequest, Pruned, RemovedTemplate, TemplateAnswer } from "../api/schema.ts";
import type { SandboxType, SizeClass } from "../config/machine-kinds.ts";
import type { CallOptions } from "../core/deadline.ts";
import { type ProgressOptions, requestWithProgress } from "./progress.ts";
import type { Transport } from "./transport.ts";

export interface TemplateInfo {
  /** 16 hex digits; changes with all that goes into a template. */
  key: string;
  /** The image's name. */
  image: string;
  type: SandboxType;
  backend: string;
  /** libvirt connection, for the libvirt backend alone. */
  uri: string | undefined;
  cpus: number;
  memoryBytes: number;
  /** How large sandboxes can be that are cloned from it; absent: just as large as it is. */
  growsTo: { cpus: number; memoryBytes: number } | undefined;
  /** What it takes of the host's disk. */
  sizeBytes: number;
  createdAt: Date;
  lastUsedAt: Date;
  /** A sandbox stands on it, or a machine that waits to become one. */
  inUse: boolean;
  /** The document as on the wire, snake case. */
  toJSON(): TemplateAnswer;
}

/** What the sandboxes are that the template is for; all else comes from the daemon's settings. */
export interface TemplateOptions {
  image?: string | undefined;
  type?: SandboxType | undefined;
  backend?: string | undefined;
  uri?: string | undefined;
  cpus?: number | undefined;
  memoryBytes?: number | undefined;
  sizeClass?: SizeClass | undefined;
}

export interface Templates {
  list(options?: CallOptions): Promise<TemplateInfo[]>;
  /** Makes one now, so that no create has to; at once done when it is there. Takes minutes under emulation. */
  build(template?: TemplateOptions, options?: ProgressOptions): Promise<TemplateInfo>;
  /** By its key or the first digits of it; answers the key. */
  remove(key: string, options?: CallOptions): Promise<string>;
  /** Removes those that no sandbox stands on; answers in words what went. */
  prune(options?: CallOptions): Promise<string[]>;
}

type TemplateResult = TemplateAnswer & { type: "template" };

const removeTimeoutMs = 120_000;

export function createTemplates(transport: Transport): Templates {
  return {
    list: async (options) =>
      (await transport.json<TemplateAnswer[]>("GET", "/templates", options)).map(toTemplateInfo),
    build: async (template = {}, options = {}) =>
      toTemplateInfo(
        await requestWithProgress<TemplateResult>(transport, "/templates", toRequest(template), options),
      ),
    async remove(key, options = {}) {
      const path = `/templates/${encodeURIComponent(key)}`;
      const call = { timeoutMs: removeTimeoutMs, ...options };
      return (await transport.json<RemovedTemplate>("DELETE", path, call)).key;
    },
    async prune(options = {}) {
      const call = { timeoutMs: removeTimeoutMs, ...options };
      return (await transport.json<Pruned>("POST", "/templates/prune", call)).removed;
    },
  };
}

function toRequest(template: TemplateOptions): BuildTemplateRequest {
  return {
    image: template.image,
    sandbox_type: template.type,
    backend_type: template.backend,
    uri: template.uri,
    cpus: template.cpus,
    memory: template.memoryBytes,
    size_class: template.sizeClass,
  };
}

function toTemplateInfo(answer: TemplateAnswer): TemplateInfo {
  return {
    key: answer.key,
    image: answer.image,
    type: answer.sandbox_type,
    backend: answer.backend_type,
    uri: answer.uri,
    cpus: answer.cpus,
    memoryBytes: answer.memory,
    growsTo: answer.grows_to && { cpus: answer.grows_to.cpus, memoryBytes: answer.grows_to.memory },
    sizeBytes: answer.size,
    createdAt: new Date(answer.created_at),
    lastUsedAt: new Date(answer.last_used_at),
    inUse: answer.in_use,
    toJSON: () => answer,
  };
}
