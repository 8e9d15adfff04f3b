/**
 * Counts what exists, before and after: a test that leaves a file, domain, volume, process, socket or mount
 * behind fails with the list of them.
 */
import { type Dirent } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { descendantsOf } from "./fixtures/host/processes.ts";

export type CensusSection = "files" | "sockets" | "processes" | "mounts" | "domains" | "volumes";

/** What exists, by kind, as lines a person can read. */
export type Census = Readonly<Record<CensusSection, readonly string[]>>;

/** Where a census looks. */
export interface CensusScope {
  /** Name in the census → folder that is walked whole; a missing folder is an empty one. */
  folders: Readonly<Record<string, string>>;
  /** Whose descendants are counted. */
  processRoots: readonly number[];
  /** Asks libvirt, when there is a daemon to ask; `virsh`'s arguments in, its output out. */
  virsh?: (args: readonly string[]) => Promise<string>;
  /** Counts `heyvm*` of this user directly in /tmp and /var/tmp. */
  temporaryFilesOfUid?: number;
}

/** What may come to be: kept or shared on purpose, or libvirt's own business. */
export const sharedOnPurpose: readonly RegExp[] = [
  // The state folder's lasting files.
  /^data\/(daemon\.log(\.1)?|daemon\.lock|settings\.json|kvm\.json(\.libvirt)?|images\.json|templates\.json|template-doubts\.json|cloning\.json|\.heyvm-lock-[0-9a-f]{16}|token|logs\/.*)$/,
  // Copies of images that others may change where they lie.
  /^data\/images\/([^/]+\.(qcow2|img|raw)|\.heyvm-lock-[0-9a-f]{16})$/,
  // Templates, prepared disks and copies of images, which the next sandbox uses again; downloads.
  /^(images|home\/\.local\/share\/libvirt\/images)\/heyvm\/(template|prepared|image)-[0-9a-f]{16}(-[0-9a-f]{8}\.(qcow2|raw|ram|state|blank)|\.json)$/,
  /^(images|home\/\.local\/share\/libvirt\/images)\/(\.heyvm-lock-[0-9a-f]{16}|[^/]+\.(qcow2|img|raw)(\.(json|sha256|sha512|verified|lock))?)$/,
  /^[^/]+\/(template|prepared|image)-[0-9a-f]{16}(-[0-9a-f]{8}\.(qcow2|raw|ram|state|blank)|\.json)$/,
  /^default\/[^/]+\.(qcow2|img|raw)$/,
  // Of a daemon that was killed; the next one that takes the lock removes its file.
  /^run\/heyvm\/\.heyvm-lock-[0-9a-f]{16}$/,
  // libvirt's own files, but not a domain's definition.
  /^home\/\.cache\/libvirt\//,
  /^home\/\.config\/libvirt\/(?!qemu\/[^/]+\.xml$)/,
  /^run\/libvirt\//,
  // Started with a session's first machine; it leaves by itself.
  /^\/usr\/sbin\/virtlogd --timeout=\d+$/,
  /^home\/\.cache\/(node|npm)\//,
];

/** What exists now. */
export async function takeCensus(scope: CensusScope): Promise<Census> {
  const files: string[] = [];
  const sockets: string[] = [];
  for (const [name, folder] of Object.entries(scope.folders)) {
    for (const entry of await entriesBelow(folder)) {
      if (!entry.isDirectory()) {
        const path = join(name, relative(folder, join(entry.parentPath, entry.name)));
        (entry.isSocket() ? sockets : files).push(path);
      }
    }
  }
  if (scope.temporaryFilesOfUid !== undefined) {
    files.push(...(await temporaryFiles(scope.temporaryFilesOfUid)));
  }
  const folders = Object.values(scope.folders);
  return {
    files: files.toSorted(),
    sockets: sockets.toSorted(),
    processes: (await descendantsOf(scope.processRoots)).map((process) => process.command).toSorted(),
    mounts: await mountsBelow(folders),
    domains: await domains(scope),
    volumes: await volumes(scope),
  };
}

/** libvirt notices the end of a removed machine after a fifth of a second, on a busy host later. */
const noticeMs = 5000;

/** What exists when libvirt has forgotten the machines that were removed; those that it does not forget are in it. */
export async function takeSettledCensus(scope: CensusScope): Promise<Census> {
  const end = performance.now() + noticeMs;
  // What libvirt has forgotten while the census was taken may be in it by half.
  let earlier: readonly string[] = await domains(scope);
  for (;;) {
    const census = await takeCensus(scope);
    const isSettled = ![...earlier, ...census.domains].some((domain) => hasLostItsDisk(domain, census));
    if (isSettled || performance.now() > end) return census;
    earlier = census.domains;
    await delay(50);
  }
}

/** A sandbox's disk goes before libvirt is told to forget its machine. */
function hasLostItsDisk(domain: string, { files, volumes }: Census): boolean {
  const id = /^heyvm-(sb-[0-9a-f]{8})$/.exec(domain)?.[1];
  return id !== undefined && ![...files, ...volumes].some((name) => name.endsWith(`/${id}.qcow2`));
}

/** Throws when `after` has what `before` had not, or misses what it had; `permits` are exceptions by line. */
export function expectSame(
  before: Census,
  after: Census,
  permits: readonly RegExp[] = sharedOnPurpose,
): void {
  const differences = differencesOf(before, after, permits);
  if (differences.length > 0) {
    throw new Error(`the census differs:\n${differences.join("\n")}`);
  }
}

/** `+ files: data/x` for what is new, `- …` for what has gone. */
export function differencesOf(before: Census, after: Census, permits: readonly RegExp[]): string[] {
  const permitted = (line: string): boolean => permits.some((permit) => permit.test(line));
  const sections: CensusSection[] = ["files", "sockets", "processes", "mounts", "domains", "volumes"];
  return sections.flatMap((section) => {
    const more = without(after[section], before[section]).map((line) => ({ sign: "+", line }));
    const fewer = without(before[section], after[section]).map((line) => ({ sign: "-", line }));
    return [...more, ...fewer]
      .filter(({ line }) => !permitted(line))
      .map(({ sign, line }) => `  ${sign} ${section}: ${line}`);
  });
}

/** The lines of `some` that `others` hasn't, each as often as it is more. */
function without(some: readonly string[], others: readonly string[]): string[] {
  const left = [...others];
  return some.filter((line) => {
    const index = left.indexOf(line);
    if (index !== -1) {
      left.splice(index, 1);
    }
    return index === -1;
  });
}

async function entriesBelow(folder: string): Promise<Dirent[]> {
  let entries: Dirent[];
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch {
    return []; // missing, or gone while we walk
  }
  const below = await Promise.all(
    entries.filter((entry) => entry.isDirectory()).map((entry) => entriesBelow(join(folder, entry.name))),
  );
  return [...entries, ...below.flat()];
}

async function temporaryFiles(uid: number): Promise<string[]> {
  const found: string[] = [];
  for (const folder of ["/tmp", "/var/tmp"]) {
    for (const name of await readdir(folder)) {
      const path = join(folder, name);
      const stats = name.startsWith("heyvm") ? await stat(path).catch(() => undefined) : undefined;
      if (stats?.uid === uid) {
        found.push(path);
      }
    }
  }
  return found;
}

async function mountsBelow(folders: readonly string[]): Promise<string[]> {
  const table = await readFile("/proc/self/mountinfo", "utf8");
  return lines(table)
    .map((line) => line.split(" ")[4] ?? "")
    .filter((point) => folders.some((folder) => point === folder || point.startsWith(`${folder}/`)))
    .toSorted();
}

async function domains(scope: CensusScope): Promise<string[]> {
  return lines(await ask(scope, ["list", "--all", "--name"]));
}

async function volumes(scope: CensusScope): Promise<string[]> {
  const found: string[] = [];
  for (const pool of lines(await ask(scope, ["pool-list", "--name"]))) {
    const table = lines(await ask(scope, ["vol-list", "--pool", pool]));
    found.push(...table.slice(2).map((line) => `${pool}/${line.trim().split(/\s{2,}/)[0]}`));
  }
  return found.toSorted();
}

async function ask(scope: CensusScope, args: readonly string[]): Promise<string> {
  return (await scope.virsh?.(args)) ?? "";
}

function lines(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}
