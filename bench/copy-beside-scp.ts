/**
 * A file of random bytes into a guest and back: `heyvm cp` beside scp into the same guest, and the memory that heyvm's
 * daemon and agent need for it.
 *
 *     npx tsx bench/copy-beside-scp.ts [size] [rounds] [--sandbox ID] [--image debian:12]
 *
 * Both are timed as processes, from start to end; both go through the same file names and the guest's page cache.
 */
import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

import { parseSize } from "../src/config/size.ts";
import { Heyvm, type Sandbox } from "../src/sdk/index.ts";
import { openBenchSandbox } from "./bench-sandbox.ts";
import { type GuestSsh, openGuestSsh } from "./guest-ssh.ts";
import { forgetPeaks, measureMemory, type Memory } from "./process-memory.ts";
import { heyvmCommand, run } from "./processes.ts";
import { median, printTable, timed } from "./statistics.ts";

const guestPath = "/var/tmp/heyvm-bench";
const blockBytes = 1024 ** 2;

interface Copies {
  up: number[];
  down: number[];
}

using heyvm = await Heyvm.connect({ onNotice: (message) => console.error(message) });
await using bench = await openBenchSandbox(heyvm);
const { sandbox, positionals } = bench;
const sizeBytes = parseSize(positionals[0] ?? "256M");
const rounds = Number(positionals[1] ?? 3);
const folder = await mkdtemp(join(tmpdir(), "hvb-"));
try {
  await using ssh = await openGuestSsh(sandbox);
  await compare(sandbox, ssh, folder);
} finally {
  await rm(folder, { recursive: true, force: true });
  await sandbox.exec("rm", ["-f", guestPath]);
}

async function compare(sandbox: Sandbox, ssh: GuestSsh, folder: string): Promise<void> {
  const local = join(folder, "random");
  const back = join(folder, "back");
  await writeRandom(local);
  const hash = await hashOf(local);
  const heyvmCopies: Copies = { up: [], down: [] };
  const scpCopies: Copies = { up: [], down: [] };
  const remote = `${ssh.destination}:${guestPath}`;

  await forgetPeaks(sandbox);
  const before = await measureMemory(sandbox);
  for (let round = 0; round < rounds; round += 1) {
    heyvmCopies.up.push(await timed(() => run(heyvmCommand("cp", local, `${sandbox.id}:${guestPath}`))));
    expectSame(hash, await guestHash(sandbox), "heyvm cp into the guest");
    heyvmCopies.down.push(await timed(() => run(heyvmCommand("cp", `${sandbox.id}:${guestPath}`, back))));
    expectSame(hash, await hashOf(back), "heyvm cp out of the guest");
    await sandbox.files.remove(guestPath);
    await rm(back);
    scpCopies.up.push(await timed(() => run(["scp", "-q", ...ssh.options, local, remote])));
    expectSame(hash, await guestHash(sandbox), "scp into the guest");
    scpCopies.down.push(await timed(() => run(["scp", "-q", ...ssh.options, remote, back])));
    expectSame(hash, await hashOf(back), "scp out of the guest");
    await rm(back);
  }
  report(heyvmCopies, scpCopies, before, await measureMemory(sandbox));
}

function report(heyvmCopies: Copies, scpCopies: Copies, before: Memory, after: Memory): void {
  const speed = (samples: readonly number[]): number => sizeBytes / 1e6 / (median(samples) / 1000);
  const row = (name: string, ours: readonly number[], theirs: readonly number[]): string[] => [
    name,
    speed(ours).toFixed(1),
    speed(theirs).toFixed(1),
    `${(speed(ours) / speed(theirs)).toFixed(2)} x`,
  ];
  console.log(`${sizeBytes / blockBytes} MiB of random bytes, medians of ${rounds} rounds`);
  printTable([
    ["MB/s", "heyvm cp", "scp", "heyvm to scp"],
    row("into the guest", heyvmCopies.up, scpCopies.up),
    row("out of the guest", heyvmCopies.down, scpCopies.down),
  ]);
  const memoryRow = (name: string, process: "daemon" | "agent"): string[] => [
    name,
    megabytes(before[process].residentBytes),
    megabytes(after[process].peakBytes),
    megabytes(after[process].residentBytes),
  ];
  console.log("");
  printTable([
    ["resident memory, MB", "before", "peak", "after"],
    memoryRow("daemon (host)", "daemon"),
    memoryRow("agent (guest)", "agent"),
  ]);
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

async function writeRandom(path: string): Promise<void> {
  const file = await open(path, "wx");
  try {
    for (let left = sizeBytes; left > 0; left -= blockBytes) {
      await file.write(randomBytes(Math.min(left, blockBytes)));
    }
  } finally {
    await file.close();
  }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

async function guestHash(sandbox: Sandbox): Promise<string> {
  // Written back, too, lest the next copy pay for it.
  const { stdout } = await sandbox.exec(`sync && sha256sum ${guestPath}`);
  return stdout.slice(0, 64);
}

function expectSame(expected: string, found: string, what: string): void {
  if (found !== expected) throw new Error(`${what} changed the bytes: ${expected} became ${found}`);
}
