/** What `clone-path.ts` has measured, as it is printed: first what is aimed at, then how that comes about. */
import { boundHeading, boundRow } from "./bounds.ts";
import type { KeptClones } from "./kept-clones.ts";
import { formatMb, medianMemory, type QemuMemory } from "./qemu-process.ts";
import type { RunsAtOnce } from "./run-command.ts";
import { formatMs, median, percentile, printTable } from "./statistics.ts";
import type { StockBoot } from "./stock-boot.ts";

export interface CloneFigures {
  /** One measurement a round. */
  timesMs: {
    clone: number[];
    /** A clone of a machine launched ahead. */
    ahead: number[];
    warm: number[];
    /** The same clone by QEMU alone. */
    plain: number[];
    virsh: number[];
    run: number[];
    /** `heyvm run` where machines are launched ahead, as by default. */
    runAhead: number[];
  };
  sets: { kept: KeptClones[]; atOnce: RunsAtOnce[]; atOnceAhead: RunsAtOnce[]; stock: StockBoot[] };
  template: { totalMs: number; settlingMs: number };
  idle: { atOnce: QemuMemory; later: QemuMemory; firstCpuSeconds: number; nextCpuSeconds: number };
  /** How many were kept running in a set, and how many `heyvm run` there were at once. */
  together: number;
  idleSeconds: number;
}

export function printCloneFigures(figures: CloneFigures): void {
  const tables = [aims, furtherAims, firstOutputs, runs, keptRunning, memory];
  for (const rows of tables) {
    printTable(rows(figures));
    console.log("");
  }
  const { idle, idleSeconds, sets, timesMs } = figures;
  console.log(
    `medians of ${timesMs.clone.length} rounds, and of ${sets.kept.length} sets what is of many at once or kept running; ` +
      "launched ahead: as many as by default; heyvm: node bin/heyvm",
  );
  const oneByOne = sets.kept.map(({ timesMs }) => ratio(timesMs.at(-1), timesMs[0]));
  console.log(`the last of those kept running to the first, set by set: ${oneByOne.join(", ")}`);
  console.log(
    `CPU of an idle clone: ${idle.firstCpuSeconds.toFixed(2)} s in its first ${idleSeconds} s, ` +
      `${idle.nextCpuSeconds.toFixed(2)} s in the next`,
  );
}

function aims({ timesMs, sets, together, idleSeconds }: CloneFigures): string[][] {
  const stockMs = median(userCommandsOf(sets.stock));
  const runMs = median(timesMs.runAhead);
  const { firsts, lasts } = keptTimes(sets.kept);
  const privateBytes = sets.kept.flatMap(({ memories }) => memories.map((one) => one.privateBytes));
  const atOnceMs = median(totalsOf(sets.atOnceAhead));
  const allRuns = [...sets.atOnceAhead, ...sets.atOnce];
  const failures = allRuns.flatMap((one) => one.failures).length;
  const count = allRuns.length * together;
  return [
    [...boundHeading],
    boundRow("stock boot to create and first output, none launched ahead", stockMs / median(timesMs.clone), {
      atLeast: 80,
    }),
    boundRow("heyvm run -- true, the whole process, some launched ahead", runMs, { atMost: 1000 }, wholeMs),
    boundRow(`clone ${together} to clone 1, all kept running`, median(lasts) / median(firsts), {
      atMost: 1.3,
    }),
    boundRow(
      `private memory of a clone after ${idleSeconds} s of idling`,
      median(privateBytes),
      { atMost: 55e6 },
      formatMb,
    ),
    boundRow(`heyvm run, ${together} at once, to one alone`, atOnceMs / runMs, { atMost: 6 }),
    boundRow("how many of all that ran at once succeed", count - failures, { atLeast: count }, String),
  ];
}

function furtherAims({ timesMs, sets, template }: CloneFigures): string[][] {
  const stockMs = median(userCommandsOf(sets.stock));
  const [cloneMs, byHandMs] = [median(timesMs.clone), median(timesMs.plain) + median(timesMs.virsh)];
  return [
    [...boundHeading],
    boundRow("stock boot to a clone of a machine launched ahead", stockMs / median(timesMs.ahead), {
      atLeast: 200,
    }),
    boundRow("clone to one by QEMU alone and one virsh create", cloneMs / byHandMs, { atMost: 1.2 }),
    boundRow("warm machine to clone", median(timesMs.warm) / cloneMs, { atMost: 0.1 }),
    boundRow(
      "making a template to a stock boot and the time to settle",
      template.totalMs / (stockMs + template.settlingMs),
      { atMost: 1.3 },
    ),
  ];
}

function firstOutputs({ timesMs, sets, template }: CloneFigures): string[][] {
  const row = (title: string, samples: number[]): string[] => timesRow(title, samples, timesMs.clone);
  return [
    [`from nothing to a command's output (${timesMs.clone.length} rounds)`, "median", "p95", "to a clone"],
    row("clone: create to first output", timesMs.clone),
    row("clone of a machine launched ahead (shell)", timesMs.ahead),
    row("warm machine", timesMs.warm),
    row("the same clone by QEMU alone", timesMs.plain),
    row("virsh create --paused of its XML", timesMs.virsh),
    row(
      `stock boot: cloud-init's first commands (${sets.stock.length} runs)`,
      sets.stock.map(({ firstStageMs }) => firstStageMs),
    ),
    row("stock boot: its user's commands", userCommandsOf(sets.stock)),
    ["making the template, of a prepared disk (1 run)", formatMs(template.totalMs), "-", "-"],
    ["… of that, until it rests and is frozen", formatMs(template.settlingMs), "-", "-"],
  ];
}

/** "Alone" is of the same daemon. */
function runs({ timesMs, sets, together }: CloneFigures): string[][] {
  const many = `${together} at once, until the last has ended (${sets.atOnce.length} sets)`;
  return [
    ["heyvm run -- true, whole processes", "median", "p95", "to one alone"],
    timesRow("one alone", timesMs.runAhead, timesMs.runAhead),
    timesRow(many, totalsOf(sets.atOnceAhead), timesMs.runAhead),
    timesRow("no machines launched ahead: one alone", timesMs.run, timesMs.run),
    timesRow(`no machines launched ahead: ${together} at once`, totalsOf(sets.atOnce), timesMs.run),
  ];
}

function keptRunning({ sets: { kept }, together }: CloneFigures): string[][] {
  const { firsts, lasts, firstHalves, secondHalves } = keptTimes(kept);
  return [
    [`of ${together} kept running (${kept.length} sets)`, "median", "p95", "to the first"],
    timesRow("the first", firsts, firsts),
    timesRow("the last", lasts, firsts),
    timesRow("the first half", firstHalves, firsts),
    timesRow("the second half", secondHalves, firsts),
  ];
}

function memory({ idle, sets, idleSeconds }: CloneFigures): string[][] {
  const kept = sets.kept.flatMap(({ memories }) => memories);
  return [
    ["one QEMU's memory", "private", "guest wrote", "guest read", "translated code", "rest", "PSS"],
    memoryRow("clone, at once", idle.atOnce),
    memoryRow(`clone, after ${idleSeconds} s of idling`, idle.later),
    memoryRow(`the same, median of the ${kept.length} kept running`, medianMemory(kept)),
    memoryRow("stock boot, at its end", medianMemory(sets.stock.map((one) => one.memory))),
  ];
}

/** One clone is chance: of each place the times of all sets. */
function keptTimes(kept: readonly KeptClones[]) {
  const all = kept.map(({ timesMs }) => timesMs);
  return {
    firsts: all.flatMap((times) => times.slice(0, 1)),
    lasts: all.flatMap((times) => times.slice(-1)),
    firstHalves: all.flatMap((times) => times.slice(0, times.length / 2)),
    secondHalves: all.flatMap((times) => times.slice(-times.length / 2)),
  };
}

function totalsOf(atOnce: readonly RunsAtOnce[]): number[] {
  return atOnce.map(({ totalMs }) => totalMs);
}

function userCommandsOf(stock: readonly StockBoot[]): number[] {
  return stock.map(({ userCommandsMs }) => userCommandsMs);
}

function timesRow(title: string, samples: readonly number[], to: readonly number[]): string[] {
  const middle = median(samples);
  return [title, formatMs(middle), formatMs(percentile(samples, 0.95)), ratio(middle, median(to))];
}

function memoryRow(title: string, { privateBytes, proportionalBytes, private: own }: QemuMemory): string[] {
  const { guestWritten, guestRead, translatedCode, rest } = own;
  const columns = [privateBytes, guestWritten, guestRead, translatedCode, rest, proportionalBytes];
  return [title, ...columns.map(formatMb)];
}

function ratio(value = Number.NaN, to = Number.NaN): string {
  return (value / to).toFixed(2);
}

/** Beside a bound, "1.0 s" would be too coarse. */
function wholeMs(ms: number): string {
  return `${ms.toFixed(0)} ms`;
}
