import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";

import { callAgent, openStream } from "./calls.ts";
import { type GuestObject, guestInteger } from "./guest-json.ts";
import { readDirectory, fileStatus } from "./file-status.ts";
import type { Mux } from "./mux.ts";
import { atMost, fromRecords, toRecords } from "./records.ts";
import type { AgentFiles } from "./types.ts";

/** A recursive removal of a large tree takes its time. */
const removeMs = 600_000;

/** The guest's files, through one session. The deadline of `read` and `write` is for their start; data takes its time. */
export function guestFiles(mux: Mux): AgentFiles {
  return {
    async read(path, options = {}) {
      const params = { path, offset: options.offset, length: options.length, holes: true };
      const call = { operation: "read", params, what: `reading ${path} in the guest` };
      const { stream, opened } = await openStream(
        mux,
        call,
        { outputs: [1], cancelWithReader: true },
        options,
      );
      const { readable } = stream.output(1);
      const decode = opened["holes"] === true ? fromRecords : atMost;
      const content = Readable.from(decode(readable, options.length), { objectMode: false });
      // Also when it is closed unread: then the generator has not begun, and ends nothing.
      content.once("close", () => readable.destroy());
      // Whoever reads hears of an error; when nobody does, it must not end the process.
      content.on("error", () => {});
      return content;
    },

    write: (path, content, options = {}) => writeFile(mux, path, content, options),

    async list(path, options = {}) {
      const call = { operation: "list", params: { path }, what: `listing ${path} in the guest` };
      const { stream } = await openStream(mux, call, { outputs: [1], cancelWithReader: true }, options);
      return mux.read(() => readDirectory(stream.output(1).readable));
    },

    async stat(path, options = {}) {
      const params = { path, follow: options.follow };
      const call = { operation: "stat", params, what: `looking at ${path} in the guest` };
      return mux.read(async () => fileStatus(await callAgent(mux, call, options)));
    },

    async makeDirectory(path, options = {}) {
      const params = { path, recursive: options.recursive, mode: options.mode };
      await callAgent(mux, { operation: "mkdir", params, what: `making directory ${path}` }, options);
    },

    async remove(path, options = {}) {
      const params = { path, recursive: options.recursive };
      await callAgent(mux, { operation: "remove", params, what: `removing ${path}` }, options, removeMs);
    },

    async rename(from, to, options = {}) {
      await callAgent(mux, { operation: "rename", params: { from, to }, what: `renaming ${from}` }, options);
    },
  };
}

async function writeFile(
  mux: Mux,
  path: string,
  content: AsyncIterable<Uint8Array>,
  options: Parameters<AgentFiles["write"]>[2] = {},
): Promise<number> {
  const { mode, makeParents: parents, user } = options;
  const params = { path, mode, parents, user, holes: true };
  const call = { operation: "write", params, what: `writing ${path} in the guest` };
  const { stream, opened } = await openStream(mux, call, { input: true }, options);
  const writable = stream.input?.writable;
  if (writable === undefined) throw new Error("a write has an input");
  try {
    const sent = opened["holes"] === true ? toRecords(content) : content;
    await pipeline(Readable.from(sent, { objectMode: false }), writable);
  } catch (error) {
    // Either the guest failed, then that is the cause; or the content did, then nothing of it is to stay.
    stream.close(error instanceof Error ? error : undefined);
    await stream.result;
    throw error;
  }
  return mux.read(async () => writtenBytes(await stream.result));
}

function writtenBytes(result: GuestObject): number {
  return guestInteger(result, "bytes", 0, Number.MAX_SAFE_INTEGER);
}
