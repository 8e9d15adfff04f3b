/**
 * What clones promise, measured in one run: beside the same image booted by QEMU alone, beside the same clone by QEMU alone,
 * with a machine launched ahead, and out of the warm pool.
 *
 *     npx tsx bench/clone-path.ts [image] [runs] [seconds of idling]
 *
 * Starts three daemons of its own, which share templates with the user's; the one that it measures is made anew. Needs the libvirt backend at a local URI, and `virsh`.
 */
import { execFile } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";

import type { Heyvm, OwnedSandbox } from "../src/sdk/index.ts";
import { createToFirstOutput, type FirstOutput } from "./first-output.ts";
import { startOwnDaemon } from "./own-daemon.ts";
import { type ClonePattern, patternOf, plainClone, virshCreate } from "./plain-clone.ts";
import { cpuSeconds, findQemu, formatMb, measureQemu, type QemuMemory } from "./qemu-process.ts";
import { formatMs, median, percentile, printTable } from "./statistics.ts";
import { bootStock } from "./stock-boot.ts";

const [image = "debian:12", runs = "20", idleSeconds = "30"] = process.argv.slice(2);
const memoryBytes = 1024 ** 3;
/** By default long enough for what a new guest does in the background. */
const idleMs = Number(idleSeconds) * 1000;
/** Until what a removed machine and a new one leave to do is over. */
const pauseMs = 3000;

await using plain = await startOwnDaemon({ HEYVM_TEMPLATES_SHELLS: "0" });
await using ahead = await startOwnDaemon({ HEYVM_TEMPLATES_SHELLS: "1" });
const pool = { HEYVM_POOL_SIZE: "1", HEYVM_POOL_IMAGE: image, HEYVM_POOL_TYPE: "shell" };
await using pooled = await startOwnDaemon({ HEYVM_TEMPLATES_SHELLS: "0", ...pool });
const pulled = await plain.heyvm.images.pull(image);

console.error("the template, made anew …");
const template = await makeTemplate();
const { idle, pattern, uri } = await measureIdle((await clone(plain.heyvm)).sandbox);
await (await clone(ahead.heyvm)).sandbox.remove();
console.error(`${runs} rounds …`);
const times = await runRounds(Number(runs), pattern, uri);
console.error(`${runs} clones that are kept …`);
const kept = await runKept(Number(runs));
console.error("the stock boot …");
const stock = await bootStock({ image: pulled, accelerator: idle.accelerator, memoryBytes });

const cloneMs = median(times.clone);
const aheadMs = median(times.ahead);
const ratio = (ms: number, to: number): string => (ms / to).toFixed(2);
printTable([
  ["from nothing to a command's output", "median", "p95", "to a clone"],
  [`clone: create to first output (${times.clone.length} rounds)`, ...timesOf(times.clone), "1.00"],
  ["clone of a machine launched ahead (shell)", ...timesOf(times.ahead), ratio(aheadMs, cloneMs)],
  ["warm machine", ...timesOf(times.warm), ratio(median(times.warm), cloneMs)],
  ["the same clone by QEMU alone", ...timesOf(times.plain), ratio(median(times.plain), cloneMs)],
  ["virsh create --paused of its XML", ...timesOf(times.virsh), ratio(median(times.virsh), cloneMs)],
  ["stock boot: cloud-init's first commands (1 run)", formatMs(stock.firstStageMs), "-", "-"],
  ["stock boot: its user's commands", formatMs(stock.userCommandsMs), "-", "-"],
  ["making the template, of a prepared disk (1 run)", formatMs(template.totalMs), "-", "-"],
  ["… of that, until it rests and is frozen", formatMs(template.settlingMs), "-", "-"],
]);
console.log("");
const byHand = median(times.plain) + median(times.virsh);
printTable([
  ["what is promised", "measured", "promised"],
  ["stock boot to a clone", ratio(stock.userCommandsMs, cloneMs), "at least 100"],
  ["stock boot to a clone of a machine launched ahead", ratio(stock.userCommandsMs, aheadMs), "at least 200"],
  ["clone to one by QEMU alone and one virsh create", ratio(cloneMs, byHand), "at most 1.2"],
  ["warm machine to clone", ratio(median(times.warm), cloneMs), "at most 0.1"],
  [
    `last five to first five of ${kept.timesMs.length} kept running`,
    lastToFirst(kept.timesMs),
    "at most 1.3",
  ],
  [
    "making a template to a stock boot and the time to settle",
    ratio(template.totalMs, stock.userCommandsMs + template.settlingMs),
    "at most 1.3",
  ],
  ["private memory of an idle clone after 30 s", formatMb(idle.later.privateBytes), "at most 55 MB"],
]);
console.log("");
printTable([
  ["one QEMU's memory", "private", "guest wrote", "guest read", "translated code", "rest", "PSS"],
  memoryRow("clone, at once", idle.atOnce),
  memoryRow(`clone, after ${idleMs / 1000} s of idling`, idle.later),
  memoryRow(`clone, mean of ${kept.timesMs.length}`, kept.memory),
  memoryRow("stock boot, at its end", stock.memory),
]);
console.log("");
console.log(
  `CPU of an idle clone: ${idle.firstCpuSeconds.toFixed(2)} s in its first ${idleMs / 1000} s, ` +
    `${idle.nextCpuSeconds.toFixed(2)} s in the next`,
);

/** Of a prepared disk that is there: its making is not counted. */
async function makeTemplate(): Promise<{ totalMs: number; settlingMs: number }> {
  const wanted = { image, type: "shell" as const, backend: "libvirt" };
  const { key } = await plain.heyvm.templates.build(wanted);
  await plain.heyvm.templates.remove(key);
  let settlingMs = 0;
  let frozenFromMs = 0;
  const begin = performance.now();
  await plain.heyvm.templates.build(wanted, {
    onStep: ({ title, state, elapsedMs }) => {
      if (!title.includes("freezing")) return;
      if (state === "started") frozenFromMs = elapsedMs;
      else settlingMs = elapsedMs - frozenFromMs;
    },
  });
  return { totalMs: performance.now() - begin, settlingMs };
}

async function clone(heyvm: Heyvm): Promise<FirstOutput> {
  const made = await createToFirstOutput(heyvm, { image, backend: "libvirt", type: "shell" });
  const { startMode, startReason } = made.sandbox.info;
  if (startMode === "cloned") return made;
  await made.sandbox.remove();
  throw new Error(`the sandbox was not cloned: ${startReason}`);
}

/** Another clone runs beside it: what both read of the template is no longer private to either. */
async function measureIdle(companion: OwnedSandbox) {
  await using _companion = companion;
  await delay(idleMs);
  const { sandbox } = await clone(plain.heyvm);
  await using _sandbox = sandbox;
  const { pid, args } = await findQemu(sandbox);
  const atOnce = await measureQemu(pid, memoryBytes);
  const begin = await cpuSeconds(pid);
  await delay(idleMs);
  const middle = await cpuSeconds(pid);
  const later = await measureQemu(pid, memoryBytes);
  await delay(idleMs);
  const end = await cpuSeconds(pid);
  const accelerator = args[args.indexOf("-accel") + 1]?.split(",")[0] ?? "tcg";
  const cpu = { firstCpuSeconds: middle - begin, nextCpuSeconds: end - middle };
  const uri = sandbox.info.uri ?? "qemu:///session";
  return { idle: { atOnce, later, accelerator, ...cpu }, pattern: await patternOf(sandbox, uri), uri };
}

async function runRounds(count: number, pattern: ClonePattern, uri: string) {
  const times = {
    clone: [] as number[],
    ahead: [] as number[],
    warm: [] as number[],
    plain: [] as number[],
    virsh: [] as number[],
  };
  for (let round = 0; round < count; round += 1) {
    await delay(pauseMs);
    times.clone.push(await timeOf(plain.heyvm));
    times.plain.push(await plainClone(pattern));
    times.virsh.push(await virshCreate(pattern, uri));
    await shellWaits(uri);
    await delay(pauseMs);
    times.ahead.push(await timeOf(ahead.heyvm));
    await poolFull();
    await delay(pauseMs);
    times.warm.push(await timeOf(pooled.heyvm, "Taking a warm machine"));
  }
  return times;
}

/** `step`: one that it must have taken. */
async function timeOf(heyvm: Heyvm, step = "Cloning the machine"): Promise<number> {
  const { sandbox, totalMs, stepsMs } = await clone(heyvm);
  await sandbox.remove();
  if (!stepsMs.has(step)) throw new Error(`it did not come by ${step}`);
  return totalMs;
}

async function shellWaits(uri: string): Promise<void> {
  const list = ["--connect", uri, "list", "--state-paused", "--name"];
  while (!(await promisify(execFile)("virsh", list)).stdout.includes("heyvm-sb-")) await delay(500);
}

async function poolFull(): Promise<void> {
  for (;;) {
    const found = (await pooled.heyvm.backends()).find((backend) => backend.pool !== undefined)?.pool;
    if (found !== undefined && found.ready === found.size) return;
    await delay(500);
  }
}

async function runKept(count: number): Promise<{ timesMs: number[]; memory: QemuMemory }> {
  const timesMs: number[] = [];
  const sandboxes: OwnedSandbox[] = [];
  try {
    for (let run = 0; run < count; run += 1) {
      await delay(pauseMs);
      const { sandbox, totalMs } = await clone(plain.heyvm);
      sandboxes.push(sandbox);
      timesMs.push(totalMs);
    }
    await delay(idleMs);
    const memories: QemuMemory[] = [];
    for (const sandbox of sandboxes) {
      memories.push(await measureQemu((await findQemu(sandbox)).pid, memoryBytes));
    }
    return { timesMs, memory: meanOf(memories) };
  } finally {
    for (const sandbox of sandboxes) await sandbox[Symbol.asyncDispose]();
  }
}

/** Of five each: one alone is chance. */
function lastToFirst(timesMs: readonly number[]): string {
  return ratio(median(timesMs.slice(-5)), median(timesMs.slice(0, 5)));
}

function meanOf(memories: readonly QemuMemory[]): QemuMemory {
  const mean = (pick: (memory: QemuMemory) => number): number =>
    memories.reduce((sum, memory) => sum + pick(memory), 0) / memories.length;
  return {
    privateBytes: mean((memory) => memory.privateBytes),
    proportionalBytes: mean((memory) => memory.proportionalBytes),
    residentBytes: mean((memory) => memory.residentBytes),
    private: {
      guestWritten: mean((memory) => memory.private.guestWritten),
      guestRead: mean((memory) => memory.private.guestRead),
      translatedCode: mean((memory) => memory.private.translatedCode),
      rest: mean((memory) => memory.private.rest),
    },
  };
}

function timesOf(samples: readonly number[]): string[] {
  return [formatMs(median(samples)), formatMs(percentile(samples, 0.95))];
}

function memoryRow(title: string, memory: QemuMemory): string[] {
  const { guestWritten, guestRead, translatedCode, rest } = memory.private;
  const columns = [
    memory.privateBytes,
    guestWritten,
    guestRead,
    translatedCode,
    rest,
    memory.proportionalBytes,
  ];
  return [title, ...columns.map(formatMb)];
}
