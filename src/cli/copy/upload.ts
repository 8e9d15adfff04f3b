/** From this machine into a sandbox. */
import { createReadStream, type Stats } from "node:fs";
import { lstat, readdir, readlink, stat } from "node:fs/promises";
import { basename, join, posix } from "node:path";
import type { Readable } from "node:stream";

import { bytesOfName, textOfName } from "../../config/file-names.ts";
import { HeyvmError } from "../../errors/index.ts";
import type { FileStatus, Sandbox } from "../../sdk/index.ts";
import type { Invocation } from "../invocation.ts";
import { printable } from "../output/text.ts";
import { LocalPathError, NothingToCopyError } from "./copy-errors.ts";
import { inParallel } from "./in-parallel.ts";
import { createMeter, type Meter } from "./meter.ts";

interface Entry {
  local: string;
  guest: string;
  status: Stats;
}

const filesAtOnce = 4;

/** Copies a file, or a folder with all that is in it; modes and links are kept. */
export async function upload(
  invocation: Invocation,
  sandbox: Sandbox,
  source: string,
  wanted: string,
): Promise<Meter> {
  const status = await local(source, "read", () => stat(source));
  if (!status.isFile() && !status.isDirectory()) throw new NothingToCopyError(source);
  const target = await resolveTarget(sandbox, wanted, source, invocation.signal);
  const entries = status.isDirectory()
    ? await walk(source, target)
    : [{ local: source, guest: target, status }];
  const files = entries.filter((entry) => entry.status.isFile());
  const total = files.reduce((sum, entry) => sum + entry.status.size, 0);
  using meter = createMeter(invocation, `Copying to ${sandbox.name}:${target}`, total);
  const { signal } = invocation;
  for (const {
    guest,
    status: { mode },
  } of entries.filter((entry) => entry.status.isDirectory())) {
    await sandbox.files.makeDirectory(guest, { recursive: true, mode: mode & 0o7777, signal });
  }
  await inParallel(files, filesAtOnce, async (entry) => {
    const content = createReadStream(bytesOfName(entry.local));
    const mode = entry.status.mode & 0o7777;
    await writeGuestFile(sandbox, entry.guest, content, meter, { mode, signal, source: entry.local });
  });
  for (const entry of entries.filter((one) => one.status.isSymbolicLink())) {
    const link = await local(entry.local, "read", () => readlink(bytesOfName(entry.local), "buffer"));
    await makeLink(sandbox, textOfName(link), entry.guest, signal);
    meter.fileDone();
  }
  for (const entry of entries) {
    const { status: kind } = entry;
    if (!kind.isFile() && !kind.isDirectory() && !kind.isSymbolicLink()) {
      invocation.note(
        `${invocation.errorStyle.yellow("warning:")} ${printable(entry.local)} is no file, folder or link: left out`,
      );
    }
  }
  return meter;
}

/** Copies stdin into a file. */
export async function uploadStream(invocation: Invocation, sandbox: Sandbox, wanted: string): Promise<Meter> {
  const target = posix.resolve(sandbox.info.workingDirectory, wanted);
  using meter = createMeter(invocation, `Copying to ${sandbox.name}:${target}`, undefined);
  await writeGuestFile(sandbox, target, process.stdin, meter, { signal: invocation.signal });
  return meter;
}

async function writeGuestFile(
  sandbox: Sandbox,
  path: string,
  content: Readable,
  meter: Meter,
  { source = "standard input", ...options }: { mode?: number; signal: AbortSignal; source?: string },
): Promise<void> {
  const counter = meter.counter();
  content.on("error", (error) => counter.destroy(new LocalPathError(source, "read", error)));
  try {
    await sandbox.files.write(path, content.pipe(counter), { ...options, makeParents: true });
    meter.fileDone();
  } finally {
    content.destroy();
  }
}

/** As `cp`: into a folder that exists, else to that very path. `folder/.` means what is in the folder. */
async function resolveTarget(
  sandbox: Sandbox,
  wanted: string,
  source: string,
  signal: AbortSignal,
): Promise<string> {
  const target = posix.resolve(sandbox.info.workingDirectory, wanted);
  if (/(^|\/)\.$/.test(source)) return target;
  const status = await statOrAbsent(sandbox, target, signal);
  const isFolder = wanted === "" || wanted.endsWith("/") || status?.type === "directory";
  return isFolder ? posix.join(target, basename(source)) : target;
}

async function statOrAbsent(
  sandbox: Sandbox,
  path: string,
  signal: AbortSignal,
): Promise<FileStatus | undefined> {
  try {
    return await sandbox.files.stat(path, { signal });
  } catch (error) {
    if (error instanceof HeyvmError && error.code === "path_not_found") return undefined;
    throw error;
  }
}

/** Folders come before what is in them. */
async function walk(source: string, target: string): Promise<Entry[]> {
  const entries: Entry[] = [{ local: source, guest: target, status: await stat(source) }];
  // Grows while it is walked.
  for (const { local: folder, guest, status } of entries) {
    if (!status.isDirectory()) continue;
    const names = await local(folder, "read", () => readdir(bytesOfName(folder), "buffer"));
    for (const name of names.map(textOfName)) {
      const path = join(folder, name);
      entries.push({
        local: path,
        guest: posix.join(guest, name),
        status: await local(path, "read", () => lstat(bytesOfName(path))),
      });
    }
  }
  return entries;
}

async function makeLink(sandbox: Sandbox, target: string, path: string, signal: AbortSignal): Promise<void> {
  const { exitCode, stderr } = await sandbox.exec("ln", ["-sfn", "--", target, path], { signal });
  if (exitCode !== 0) throw new HeyvmError("guest_failed", `cannot make the link ${path}: ${stderr.trim()}`);
}

async function local<T>(path: string, doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new LocalPathError(path, doing, error);
  }
}
