/** Between the wire's snake case and the sandbox model's camel case, in this one place. */
import type { DirectoryEntry, FileStatus } from "../agent/types.ts";
import type {
  CreateRequest,
  LogLine,
  SandboxView,
  TemplateBuildRequest,
  TemplateView,
} from "../sandbox/index.ts";
import type { StoredImage } from "../images/index.ts";
import type {
  BuildTemplateRequest,
  CreateSandboxRequest,
  DirectoryEntryAnswer,
  FileStatusAnswer,
  ImageAnswer,
  LogEntry,
  OpenPort,
  Sandbox,
  TemplateAnswer,
} from "./schema.ts";

export function toSandbox(view: SandboxView): Sandbox {
  const { record } = view;
  const { spec } = record;
  const { hostMemory } = view;
  return {
    id: record.id,
    name: spec.name,
    slug: spec.slug,
    status: view.status,
    sandbox_type: spec.type,
    image: spec.imageReference ?? null,
    backend_type: spec.backend,
    ...(spec.uri !== undefined && { uri: spec.uri }),
    cpus: spec.cpus,
    memory: spec.memoryBytes,
    disk: spec.diskBytes ?? null,
    mounts: spec.mounts.map(({ hostPath, guestPath, readOnly }) => ({
      host_path: hostPath,
      sandbox_path: guestPath,
      read_only: readOnly,
    })),
    working_directory: spec.workingDirectory,
    ...(spec.startCommand !== undefined && { start_command: spec.startCommand }),
    env_vars: spec.env,
    needs_network: spec.network,
    ttl_seconds: spec.ttlSeconds,
    created_at: new Date(record.createdAtMs).toISOString(),
    started_at: isoTime(record.startedAtMs),
    expires_at: isoTime(record.expiresAtMs),
    uptime_secs: view.uptimeSeconds ?? null,
    cpu_usage: view.cpuUsagePercent ?? null,
    memory_usage: view.memoryUsedBytes ?? null,
    host_memory:
      hostMemory === undefined
        ? null
        : { private: hostMemory.privateBytes, proportional: hostMemory.proportionalBytes },
    open_ports: spec.openPorts.map(toOpenPort),
    labels: spec.labels,
    warnings: [...view.warnings],
    start_mode: record.start?.how,
    start_reason: record.start?.reason,
    ...(view.errorMessage !== undefined && { error_message: view.errorMessage }),
  };
}

export function fromCreateRequest(body: CreateSandboxRequest): CreateRequest {
  return {
    name: body.name,
    slug: body.slug,
    type: body.sandbox_type,
    image: body.image,
    backend: body.backend_type,
    uri: body.uri,
    cpus: body.cpus,
    memoryBytes: body.memory,
    diskBytes: body.disk,
    sizeClass: body.size_class,
    mounts: body.mounts?.map((mount) => ({
      hostPath: mount.host_path,
      guestPath: mount.sandbox_path,
      readOnly: mount.read_only,
    })),
    ttlSeconds: body.ttl_seconds,
    startCommand: body.start_command,
    workingDirectory: body.working_directory,
    openPorts: body.open_ports?.map((port) =>
      typeof port === "number"
        ? { guestPort: port, hostPort: port }
        : { guestPort: port.guest_port, hostPort: port.host_port },
    ),
    env: body.env_vars,
    setupHooks: body.setup_hooks,
    network: body.needs_network,
    labels: body.labels,
    clone: body.clone,
  };
}

export function fromBuildTemplateRequest(body: BuildTemplateRequest): TemplateBuildRequest {
  return {
    image: body.image,
    type: body.sandbox_type,
    backend: body.backend_type,
    uri: body.uri,
    cpus: body.cpus,
    memoryBytes: body.memory,
    sizeClass: body.size_class,
  };
}

export function toTemplateAnswer(template: TemplateView): TemplateAnswer {
  const { growsTo } = template;
  return {
    key: template.key,
    image: template.reference,
    sandbox_type: template.type,
    backend_type: template.backend,
    ...(template.uri !== undefined && { uri: template.uri }),
    cpus: template.cpus,
    memory: template.memoryBytes,
    ...(growsTo !== undefined && { grows_to: { cpus: growsTo.cpus, memory: growsTo.memoryBytes } }),
    size: template.diskBytes,
    created_at: template.createdAt,
    last_used_at: new Date(template.lastUsedMs).toISOString(),
    in_use: template.inUse,
  };
}

export function toFileStatus(status: FileStatus): FileStatusAnswer {
  return {
    path: status.path,
    type: status.type,
    size: status.sizeBytes,
    mode: status.mode,
    uid: status.uid,
    gid: status.gid,
    modified_at: new Date(status.modifiedMs).toISOString(),
    ...(status.linkTarget !== undefined && { link_target: status.linkTarget }),
  };
}

export function toDirectoryEntry(entry: DirectoryEntry): DirectoryEntryAnswer {
  return { ...toFileStatus(entry), name: entry.name };
}

export function toLogEntry({ atMs, source, message }: LogLine): LogEntry {
  return { timestamp: new Date(atMs).toISOString(), source, message };
}

export function toImageAnswer(image: StoredImage, inUse: ReadonlySet<string>): ImageAnswer {
  return {
    name: image.name,
    path: image.path,
    format: image.format,
    size: image.sizeBytes,
    virtual_size: image.virtualSizeBytes,
    fingerprint: image.fingerprint,
    architecture: image.architecture,
    verified: image.verified,
    in_use: inUse.has(image.fingerprint),
  };
}

function toOpenPort({ guestPort, hostPort }: { guestPort: number; hostPort: number }): OpenPort {
  return guestPort === hostPort ? guestPort : { guest_port: guestPort, host_port: hostPort };
}

function isoTime(momentMs: number | null): string | null {
  return momentMs === null ? null : new Date(momentMs).toISOString();
}
