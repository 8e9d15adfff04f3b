/**
 * Where the time of a clone's `create` goes, by the steps that the daemon reports, and what the command line adds.
 *
 *     npx tsx bench/create-breakdown.ts [image] [runs]
 *
 * One create before them is not counted; it makes the template when there is none. Needs what `script/build` makes.
 */
import { Heyvm } from "../src/sdk/index.ts";
import { createToFirstOutput, type FirstOutput } from "./first-output.ts";
import { heyvmCommand, run } from "./processes.ts";
import { formatMs, median, percentile, printTable, timed } from "./statistics.ts";

const [image = "debian:12", runs = "20"] = process.argv.slice(2);
using heyvm = await Heyvm.connect({ onNotice: (message) => console.error(message) });

interface Round extends Omit<FirstOutput, "sandbox"> {
  removeMs: number;
  versionMs: number;
  listMs: number;
}

await round();
const rounds: Round[] = [];
while (rounds.length < Number(runs)) rounds.push(await round());

const whole = rounds.map(({ totalMs }) => totalMs);
const titles = [...new Set(rounds.flatMap(({ stepsMs }) => [...stepsMs.keys()]))];
printTable([
  [`a clone, ${rounds.length} rounds`, "median", "p95", "of the whole"],
  row("create to first output", whole),
  ...titles.map((title) => row(`  ${title}`, of(title))),
  row(
    "  exec of echo, to its first byte",
    rounds.map(({ totalMs, createMs }) => totalMs - createMs),
  ),
]);
console.log("");
printTable([
  ["beside it", "median", "p95", "of the whole"],
  row(
    "remove",
    rounds.map(({ removeMs }) => removeMs),
  ),
  row(
    "a CLI that does nothing: heyvm --version",
    rounds.map(({ versionMs }) => versionMs),
  ),
  row(
    "a CLI that asks the daemon: heyvm list",
    rounds.map(({ listMs }) => listMs),
  ),
]);

async function round(): Promise<Round> {
  const { sandbox, ...times } = await createToFirstOutput(heyvm, {
    image,
    backend: "libvirt",
    type: "shell",
  });
  const { startMode, startReason } = sandbox.info;
  const removeMs = await timed(() => sandbox.remove());
  if (startMode !== "cloned") throw new Error(`the sandbox was not cloned: ${startReason}`);
  const versionMs = await timed(() => run(heyvmCommand("--version")));
  const listMs = await timed(() => run(heyvmCommand("list")));
  return { ...times, removeMs, versionMs, listMs };
}

function of(title: string): number[] {
  return rounds.flatMap(({ stepsMs }) => stepsMs.get(title) ?? []);
}

function row(title: string, samples: readonly number[]): string[] {
  const middle = median(samples);
  const share = `${((100 * middle) / median(whole)).toFixed(0)} %`;
  return [title, formatMs(middle), formatMs(percentile(samples, 0.95)), share];
}
