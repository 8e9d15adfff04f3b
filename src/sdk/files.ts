/**
 * A sandbox's files, as streams of any size. Paths are absolute in the guest. A byte of a name that is no UTF-8 is a lone
 * surrogate in it, U+DC80 to U+DCFF, both ways.
 */
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";

import type {
  DirectoryEntryAnswer,
  DirectoryList,
  FileStatusAnswer,
  FileWritten,
  Sandbox as SandboxDocument,
} from "../api/schema.ts";
import { AbortedError, HeyvmError, toHeyvmError } from "../errors/index.ts";
import { ClientTimeoutError, DaemonUnavailableError } from "./client-errors.ts";
import { DaemonLostError } from "./daemon-lost.ts";
import type { CallOptions } from "../core/deadline.ts";
import { sandboxPath } from "./endpoint.ts";
import type { Transport } from "./transport.ts";

export interface FileStatus {
  path: string;
  type: "file" | "directory" | "symlink" | "other";
  sizeBytes: number;
  /** Permission bits, `0o644`. */
  mode: number;
  uid: number;
  gid: number;
  modifiedAt: Date;
  linkTarget: string | undefined;
}

export interface DirectoryEntry extends FileStatus {
  name: string;
}

/** The sandbox was stopped, removed or lost while a file of it was on its way. The daemon is well. */
export class TransferEndedError extends HeyvmError {
  constructor(why: string, options: { hint?: string | undefined; cause: HeyvmError }) {
    super("guest_failed", `the copy broke off: ${why}`, options);
  }
}

/** What a file is written from. */
export type FileContent = string | Uint8Array | AsyncIterable<Uint8Array> | Readable;

export interface Files {
  /** The content as a stream. */
  read(path: string, options?: CallOptions): Promise<Readable>;
  /** The whole content as text. */
  readText(path: string, options?: CallOptions): Promise<string>;
  /** Replaces the file in one step when all has arrived. Answers the bytes written. */
  write(
    path: string,
    content: FileContent,
    options?: CallOptions & { mode?: number; makeParents?: boolean },
  ): Promise<number>;
  list(path: string, options?: CallOptions): Promise<DirectoryEntry[]>;
  stat(path: string, options?: CallOptions): Promise<FileStatus>;
  makeDirectory(path: string, options?: CallOptions & { recursive?: boolean; mode?: number }): Promise<void>;
  remove(path: string, options?: CallOptions & { recursive?: boolean }): Promise<void>;
  rename(from: string, to: string, options?: CallOptions): Promise<void>;
}

/** The answer about a sandbox that is being stopped or restarted comes when that is done. */
const whyTimeoutMs = 15_000;

export function createFiles(transport: Transport, reference: string): Files {
  const sandbox = sandboxPath(reference);
  const base = `${sandbox}/files`;
  const read = (path: string, options: CallOptions = {}): Promise<Readable> =>
    transport.stream("GET", base, {
      ...options,
      query: { path },
      accept: "application/octet-stream",
      explain: async (lost) => await whyLost(lost, options.signal),
    });
  /** A connection that is cut tells no reason: what has become of the sandbox tells it. */
  const whyLost = async (lost: HeyvmError, signal: AbortSignal | undefined): Promise<HeyvmError> => {
    const request = { query: { settled: true }, signal, timeoutMs: whyTimeoutMs };
    try {
      const { id, name, status } = await transport.json<SandboxDocument>("GET", sandbox, request);
      return status === "running"
        ? new TransferEndedError("the sandbox was restarted, or the connection broke", {
            hint: "it runs: copy again",
            cause: lost,
          })
        : new TransferEndedError(`sandbox ${name} is ${status}`, {
            hint: `heyvm start ${id}`,
            cause: lost,
          });
    } catch (thrown) {
      const cause = toHeyvmError(thrown);
      if (cause instanceof AbortedError) return cause;
      if (cause instanceof DaemonUnavailableError) return lost;
      const isBusy = cause instanceof ClientTimeoutError;
      const why = isBusy ? "the sandbox is being stopped or restarted" : cause.message;
      return new TransferEndedError(why, { hint: isBusy ? undefined : cause.hint, cause });
    }
  };
  return {
    read,
    async readText(path, options) {
      return await text(await read(path, options));
    },
    async write(path, content, options = {}) {
      const { mode, makeParents, ...call } = options;
      const query = { path, mode: mode?.toString(8), parents: makeParents };
      const body = toReadable(content);
      try {
        return (await transport.json<FileWritten>("PUT", base, { ...call, query, body })).size;
      } catch (error) {
        throw error instanceof DaemonLostError ? await whyLost(error, call.signal) : error;
      }
    },
    async list(path, options = {}) {
      const answer = await transport.json<DirectoryList>("GET", `${base}/list`, {
        ...options,
        query: { path },
      });
      return answer.entries.map(toDirectoryEntry);
    },
    async stat(path, options = {}) {
      const query = { path };
      return toFileStatus(
        await transport.json<FileStatusAnswer>("GET", `${base}/stat`, { ...options, query }),
      );
    },
    async makeDirectory(path, options = {}) {
      const { recursive, mode, ...call } = options;
      await transport.json("POST", `${base}/mkdir`, { ...call, body: { path, recursive, mode } });
    },
    async remove(path, options = {}) {
      const { recursive, ...call } = options;
      await transport.json("DELETE", base, { ...call, query: { path, recursive } });
    },
    async rename(from, to, options = {}) {
      await transport.json("POST", `${base}/rename`, { ...options, body: { from, to } });
    },
  };
}

function toReadable(content: FileContent): Readable {
  if (content instanceof Readable) return content;
  // One chunk; `from` on a string or buffer does not iterate it.
  return Readable.from(typeof content === "string" ? Buffer.from(content) : content, { objectMode: false });
}

function toFileStatus(answer: FileStatusAnswer): FileStatus {
  return {
    path: answer.path,
    type: answer.type,
    sizeBytes: answer.size,
    mode: answer.mode,
    uid: answer.uid,
    gid: answer.gid,
    modifiedAt: new Date(answer.modified_at),
    linkTarget: answer.link_target,
  };
}

function toDirectoryEntry(answer: DirectoryEntryAnswer): DirectoryEntry {
  return { ...toFileStatus(answer), name: answer.name };
}
