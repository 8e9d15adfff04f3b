/** From a sandbox to this machine. What the guest says of its files is not trusted: names, links and modes are checked. */
import { randomBytes } from "node:crypto";
import { chmod, lstat, mkdir, open, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, join, posix, resolve } from "node:path";
import { pipeline } from "node:stream/promises";

import { bytesOfName, isTextOfName } from "../../config/file-names.ts";
import { writeWithHoles } from "../../config/holes.ts";
import { AbortedError, HeyvmError } from "../../errors/index.ts";
import { errnoOf } from "../../errors/thrown.ts";
import type { FileStatus, Sandbox } from "../../sdk/index.ts";
import type { Invocation } from "../invocation.ts";
import { printable } from "../output/text.ts";
import { DanglingLinkError, GuestNameError, LocalPathError, NothingToCopyError } from "./copy-errors.ts";
import { inParallel } from "./in-parallel.ts";
import { createMeter, type Meter } from "./meter.ts";

interface Entry {
  guest: FileStatus;
  local: string;
}

const filesAtOnce = 4;
const longestLinkChain = 16;
/** A guest can list for ever; nobody copies more than this by hand. */
const mostEntries = 1_000_000;
/** The guest's setuid and setgid bits have no business here. */
const permissionBits = 0o777;

/** Copies a file, or a folder with all that is in it; permissions and links are kept. */
export async function download(
  invocation: Invocation,
  sandbox: Sandbox,
  wanted: string,
  destination: string,
): Promise<Meter> {
  const { signal } = invocation;
  const source = posix.resolve(sandbox.info.workingDirectory, wanted);
  const status = await statFollowing(sandbox, source, signal);
  const { target, typed } = await resolveTarget(destination, wanted, source);
  if (status.type === "other") throw new NothingToCopyError(source);
  const entries =
    status.type === "directory"
      ? await walk(sandbox, status, target, signal)
      : [{ guest: status, local: target }];
  const files = entries.filter(({ guest }) => guest.type === "file");
  const total = files.reduce((sum, { guest }) => sum + guest.sizeBytes, 0);
  using meter = createMeter(invocation, `Copying from ${sandbox.name}:${source}`, total);
  const folders = entries.filter(({ guest }) => guest.type === "directory");
  // Writable for us while it is filled.
  for (const { local } of folders)
    await here(local, "make", () => makeFolder(local, typed && local === target));
  await inParallel(files, filesAtOnce, (entry) => fetchFile(sandbox, entry, meter, signal));
  for (const entry of entries.filter(({ guest }) => guest.type === "symlink")) {
    await makeLink(entry);
    meter.fileDone();
  }
  for (const { local, guest } of folders.toReversed()) {
    await here(local, "set the mode of", () => chmod(bytesOfName(local), modeHere(guest)));
  }
  for (const { guest } of entries.filter(({ guest }) => guest.type === "other")) {
    invocation.note(
      `${invocation.errorStyle.yellow("warning:")} ${printable(guest.path)} is no file, folder or link: left out`,
    );
  }
  return meter;
}

/** Copies a file to stdout. */
export async function downloadToStream(
  invocation: Invocation,
  sandbox: Sandbox,
  wanted: string,
): Promise<Meter> {
  const { signal } = invocation;
  const source = posix.resolve(sandbox.info.workingDirectory, wanted);
  const status = await statFollowing(sandbox, source, signal);
  using meter = createMeter(invocation, `Copying from ${sandbox.name}:${source}`, status.sizeBytes);
  const content = await sandbox.files.read(source, { signal });
  await pipeline(content, meter.counter(), process.stdout, { end: false });
  meter.fileDone();
  return meter;
}

/**
 * Writable for us while it is filled. But for what the user has typed, only a real folder counts as there already: a
 * link that an earlier copy brought along would let the guest choose where on this machine the files go.
 */
async function makeFolder(path: string, isTyped: boolean): Promise<void> {
  try {
    await mkdir(bytesOfName(path), { mode: 0o700, recursive: isTyped });
  } catch (error) {
    if (errnoOf(error) !== "EEXIST" || !(await lstat(bytesOfName(path))).isDirectory()) throw error;
  }
}

/** Beside the target, then in one step to its place: a broken copy leaves the old file. */
async function fetchFile(
  sandbox: Sandbox,
  { guest, local }: Entry,
  meter: Meter,
  signal: AbortSignal,
): Promise<void> {
  // Short: the file's own name may be as long as a name can be.
  const unfinished = bytesOfName(join(dirname(local), `.heyvm-${randomBytes(6).toString("hex")}`));
  const content = await sandbox.files.read(guest.path, { signal });
  try {
    await here(local, "write", async () => {
      await using file = await open(unfinished, "wx", 0o600);
      await pipeline(content, meter.counter(), (counted) => writeWithHoles(file, counted), { signal });
      await chmod(unfinished, modeHere(guest));
      await rename(unfinished, bytesOfName(local));
    });
    meter.fileDone();
  } catch (error) {
    content.destroy();
    await rm(unfinished, { force: true });
    throw error;
  }
}

async function makeLink({ guest, local }: Entry): Promise<void> {
  await here(local, "make the link", async () => {
    const path = bytesOfName(local);
    await rm(path, { force: true });
    await symlink(bytesOfName(guest.linkTarget ?? ""), path);
  });
}

/** Without setuid and setgid, and with no more for others than the user lets their own files have. */
function modeHere({ mode }: FileStatus): number {
  return mode & permissionBits & ~process.umask();
}

/** `typed`: the target is what the user wrote, and not a name in it that comes from the guest. */
async function resolveTarget(
  destination: string,
  wanted: string,
  source: string,
): Promise<{ target: string; typed: boolean }> {
  const target = resolve(destination);
  if (/(^|\/)\.$/.test(wanted)) return { target, typed: true };
  const status = await stat(target).catch(() => undefined);
  const isFolder = destination.endsWith("/") || status?.isDirectory() === true;
  if (destination.endsWith("/") && status === undefined)
    await here(target, "make", () => mkdir(target, { recursive: true }));
  return isFolder ? { target: join(target, posix.basename(source)), typed: false } : { target, typed: true };
}

async function statFollowing(sandbox: Sandbox, path: string, signal: AbortSignal): Promise<FileStatus> {
  let current = path;
  for (let links = 0; links <= longestLinkChain; links += 1) {
    const status = await sandbox.files.stat(current, { signal }).catch((error: unknown) => {
      const isMissing = error instanceof HeyvmError && error.code === "path_not_found";
      throw isMissing && current !== path ? new DanglingLinkError(path, current, error) : error;
    });
    if (status.type !== "symlink") return status;
    current = posix.resolve(posix.dirname(current), status.linkTarget ?? "");
  }
  throw new HeyvmError("guest_failed", `${path} in ${sandbox.name} leads to ever more links`);
}

/** Folders come before what is in them. */
async function walk(
  sandbox: Sandbox,
  root: FileStatus,
  target: string,
  signal: AbortSignal,
): Promise<Entry[]> {
  const entries: Entry[] = [{ guest: root, local: target }];
  // Grows while it is walked.
  for (const { guest, local } of entries) {
    if (guest.type !== "directory") continue;
    const seen = new Set<string>();
    for (const child of await sandbox.files.list(guest.path, { signal })) {
      const { name } = child;
      if (/^\.{0,2}$|[/\0]/.test(name) || !isTextOfName(name) || seen.has(name))
        throw new GuestNameError(guest.path, name);
      seen.add(name);
      entries.push({ guest: { ...child, path: posix.join(guest.path, name) }, local: join(local, name) });
      if (entries.length > mostEntries) {
        throw new HeyvmError("guest_misbehaved", `${root.path} has more than ${mostEntries} files`);
      }
    }
  }
  return entries;
}

async function here<T>(path: string, doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof HeyvmError) throw error;
    if (error instanceof Error && error.name === "AbortError")
      throw new AbortedError("the copy", error.cause);
    throw new LocalPathError(path, doing, error);
  }
}
