import { createHash } from "node:crypto";
import type { Readable } from "node:stream";

import type { AgentSession, CommandExit, ExecRequest } from "../types.ts";

/** Everything that a stream yields. */
export async function readAll(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(asBuffer(chunk));
  return Buffer.concat(chunks);
}

export async function readText(stream: Readable): Promise<string> {
  return (await readAll(stream)).toString();
}

/** Length and checksum of a stream, without keeping it. */
export async function digest(
  stream: AsyncIterable<unknown> | Iterable<unknown>,
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of stream) {
    const buffer = asBuffer(chunk);
    hash.update(buffer);
    bytes += buffer.length;
  }
  return { bytes, sha256: hash.digest("hex") };
}

export interface Finished extends CommandExit {
  stdout: string;
  stderr: string;
}

/** Runs a command to its end. */
export async function runCommand(
  session: AgentSession,
  request: ExecRequest,
  input?: string | Buffer,
): Promise<Finished> {
  const command = await session.exec(request);
  command.stdin.end(input);
  const [stdout, stderr] = await Promise.all([readText(command.stdout), readText(command.stderr)]);
  return { ...(await command.exit), stdout, stderr };
}

function asBuffer(chunk: unknown): Buffer {
  if (!Buffer.isBuffer(chunk)) throw new TypeError("a byte stream yields buffers");
  return chunk;
}
