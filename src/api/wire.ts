/** What the API answers of templates, files, logs and images; of sandboxes, `sandbox/wire-names.ts` knows. */
import type { DirectoryEntry, FileStatus } from "../agent/types.ts";
import type { LogLine, TemplateView } from "../sandbox/index.ts";
import type { StoredImage } from "../images/index.ts";
import type {
  DirectoryEntryAnswer,
  FileStatusAnswer,
  ImageAnswer,
  LogEntry,
  TemplateAnswer,
} from "./schema.ts";

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
