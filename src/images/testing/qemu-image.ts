/** Real disk images, made by qemu-img. */
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export async function qemuImg(...args: string[]): Promise<void> {
  await run("qemu-img", args);
}

/** A raw disk with one partition, and random bytes in it. */
export function rawDisk(contentBytes = 1024 * 1024): Buffer {
  const disk = Buffer.alloc(2 * 1024 * 1024 + contentBytes);
  randomBytes(contentBytes).copy(disk, 1024 * 1024);
  disk[446 + 4] = 0x83;
  disk.writeUInt32LE(2048, 446 + 8);
  disk.writeUInt32LE(disk.length / 512 - 2048, 446 + 12);
  disk.writeUInt16LE(0xaa55, 510);
  return disk;
}

/** A qcow2 file of random content. */
export async function qcow2Image(options: { contentBytes?: number; args?: string[] } = {}): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-qcow2-"));
  try {
    const raw = join(folder, "disk.raw");
    const qcow2 = join(folder, "disk.qcow2");
    await writeFile(raw, rawDisk(options.contentBytes));
    await qemuImg("convert", "-f", "raw", "-O", "qcow2", ...(options.args ?? []), raw, qcow2);
    return await readFile(qcow2);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A content's digest, as the store tells it. */
export function digest(algorithm: "sha256" | "sha512", content: Buffer): string {
  return `${algorithm}:${createHash(algorithm).update(content).digest("hex")}`;
}
