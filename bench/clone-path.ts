/**
 * What clones are to reach, measured in one run: beside the same image booted by QEMU alone, beside the same clone by QEMU alone,
 * with machines launched ahead, out of the warm pool, by `heyvm run`, and ten at once.
 *
 *     script/build && npx tsx bench/clone-path.ts [image] [rounds] [seconds of idling]
 *
 * A round measures one of each, in turns. After each fourth round and after the last comes a set: ten clones that are kept
 * running, ten of `heyvm run` at once, and a stock boot. With fewer than ten rounds, a set has as many as there are rounds,
 * but two at least. The figures are medians of the rounds or of the sets; the last clone to the first is the ratio of their
 * medians. The CLI is `node bin/heyvm`, which runs what `script/build` has made.
 *
 * Starts three daemons of its own, which share templates with the user's; the one that it measures is made anew. Needs the
 * libvirt backend at a local URI, and `virsh`.
 */
import { execFile } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";

import type { Heyvm, OwnedSandbox } from "../src/sdk/index.ts";
import { type CloneFigures, printCloneFigures } from "./clone-figures.ts";
import { cloneToFirstOutput } from "./first-output.ts";
import { keepClones } from "./kept-clones.ts";
import { type OwnDaemon, startOwnDaemon } from "./own-daemon.ts";
import { patternOf, plainClone, virshCreate } from "./plain-clone.ts";
import { cpuSeconds, findQemu, measureQemu } from "./qemu-process.ts";
import { type RunsAtOnce, runTrue, runTrueAtOnce } from "./run-command.ts";
import { bootStock } from "./stock-boot.ts";

const [image = "debian:12", roundsWanted = "20", idleSeconds = "30"] = process.argv.slice(2);
const rounds = Number(roundsWanted);
const roundsPerSet = 4;
/** The aims are of ten. */
const together = Math.min(10, Math.max(2, rounds));
const memoryBytes = 1024 ** 3;
/** By default long enough for what a new guest does in the background. */
const idleMs = Number(idleSeconds) * 1000;
/** Until what a removed machine and a new one leave to do is over; where idling is cut short, so is this. */
const pauseMs = Math.min(3000, idleMs);
const waitTimeoutMs = 120_000;

await using plain = await startOwnDaemon({ HEYVM_TEMPLATES_SHELLS: "0" });
// As many machines launched ahead as by default.
await using ahead = await startOwnDaemon({ HEYVM_TEMPLATES_SHELLS: "" });
const pulled = await plain.heyvm.images.pull(image);

console.error("the template, made anew …");
const template = await makeTemplate();
const { idle, pattern, uri } = await measureIdle((await cloneToFirstOutput(plain.heyvm, image)).sandbox);
await (await cloneToFirstOutput(ahead.heyvm, image)).sandbox.remove();

// Only now: it makes a clone at once, beside whatever is measured.
const pool = { HEYVM_POOL_SIZE: "1", HEYVM_POOL_IMAGE: image, HEYVM_POOL_TYPE: "shell" };
await using pooled = await startOwnDaemon({ HEYVM_TEMPLATES_SHELLS: "0", ...pool });

const timesMs: CloneFigures["timesMs"] = {
  clone: [],
  ahead: [],
  warm: [],
  plain: [],
  virsh: [],
  run: [],
  runAhead: [],
};
const sets: CloneFigures["sets"] = { kept: [], atOnce: [], atOnceAhead: [], stock: [] };
for (let round = 1; round <= rounds; round += 1) {
  console.error(`round ${round} of ${rounds} …`);
  await measureRound();
  if (round % roundsPerSet === 0 || round === rounds) await measureSet();
}
printCloneFigures({ timesMs, sets, template, idle, together, idleSeconds: idleMs / 1000 });

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

/** Another clone runs beside it: what both read of the template is no longer private to either. */
async function measureIdle(companion: OwnedSandbox) {
  await using _companion = companion;
  await delay(idleMs);
  const { sandbox } = await cloneToFirstOutput(plain.heyvm, image);
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

async function measureRound(): Promise<void> {
  await delay(pauseMs);
  timesMs.clone.push(await timeOf(plain.heyvm));
  timesMs.plain.push(await plainClone(pattern));
  timesMs.virsh.push(await virshCreate(pattern, uri));
  await delay(pauseMs);
  timesMs.run.push(await runTrue(plain, image));
  await shellWaits();
  timesMs.ahead.push(await timeOf(ahead.heyvm));
  await shellWaits();
  timesMs.runAhead.push(await runTrue(ahead, image));
  await until("the warm pool's filling", poolIsFull);
  await delay(pauseMs);
  timesMs.warm.push(await timeOf(pooled.heyvm, "Taking a warm machine"));
}

async function measureSet(): Promise<void> {
  console.error(`${together} clones that are kept …`);
  sets.kept.push(await keepClones(plain.heyvm, image, { count: together, memoryBytes, pauseMs, idleMs }));
  console.error(`${together} of heyvm run at once …`);
  await shellWaits();
  sets.atOnceAhead.push(await runAtOnce(ahead));
  await delay(pauseMs);
  sets.atOnce.push(await runAtOnce(plain));
  console.error("a stock boot …");
  sets.stock.push(await bootStock({ image: pulled, accelerator: idle.accelerator, memoryBytes }));
}

/** `step`: one that it must have taken. */
async function timeOf(heyvm: Heyvm, step = "Cloning the machine"): Promise<number> {
  const { sandbox, totalMs, stepsMs } = await cloneToFirstOutput(heyvm, image);
  await sandbox.remove();
  if (!stepsMs.has(step)) throw new Error(`it did not come by ${step}`);
  return totalMs;
}

/** One that fails is a defect, of which the exit code tells; the other figures are printed all the same. */
async function runAtOnce(daemon: OwnDaemon): Promise<RunsAtOnce> {
  const runs = await runTrueAtOnce(daemon, image, together);
  for (const failure of runs.failures) console.error(failure);
  if (runs.failures.length > 0) process.exitCode = 1;
  if (runs.booted > 0) console.error(`${runs.booted} of them booted instead of being cloned`);
  return runs;
}

/** And what was launched or removed before it is over. */
async function shellWaits(): Promise<void> {
  const list = ["--connect", uri, "list", "--state-paused", "--name"];
  await until("the launch of a machine ahead", async () =>
    (await promisify(execFile)("virsh", list)).stdout.includes("heyvm-sb-"),
  );
  await delay(pauseMs);
}

async function poolIsFull(): Promise<boolean> {
  const found = (await pooled.heyvm.backends()).find((backend) => backend.pool !== undefined)?.pool;
  return found !== undefined && found.ready === found.size;
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + waitTimeoutMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`${what} takes longer than ${waitTimeoutMs / 1000} s`);
    await delay(500);
  }
}
