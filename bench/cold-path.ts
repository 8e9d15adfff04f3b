/**
 * From `create` to the first byte of a command's output, on the cold path: with the prepared disk still to be made, and
 * with it there. The image is downloaded before and not counted.
 *
 *     npx tsx bench/cold-path.ts [image] [runs]
 *
 * Removes prepared disks that no sandbox stands on; the next sandboxes of theirs make them again.
 */
import { Heyvm } from "../src/sdk/index.ts";
import { formatMs, median, printTable } from "./statistics.ts";

/** One way from `create` to the first output. */
interface Start {
  totalMs: number;
  /** What the daemon reported of its work: a step's title → how long it took. */
  stepsMs: ReadonlyMap<string, number>;
  /** It had to make the prepared disk. */
  prepared: boolean;
}

const [image = "debian:12", runs = "3"] = process.argv.slice(2);
using heyvm = await Heyvm.connect({ onNotice: (message) => console.error(message) });

await heyvm.images.pull(image);
await heyvm.prune({ everything: true });
const first = await start();
if (!first.prepared) {
  throw new Error(`a sandbox of ${image} keeps its prepared disk: remove it first (heyvm list --all)`);
}
const others: Start[] = [];
for (let run = 0; run < Number(runs); run += 1) others.push(await start());

const firstMs = first.totalMs;
const otherMs = median(others.map(({ totalMs }) => totalMs));
printTable([
  ["create to first output", "time", "ratio"],
  ["first of an image and type: makes the prepared disk", formatMs(firstMs), "1.00"],
  [`prepared disk there (median of ${others.length})`, formatMs(otherMs), (otherMs / firstMs).toFixed(2)],
]);
console.log("");
printTable([
  ["of that", "first", "prepared disk there"],
  ...[...first.stepsMs].map(([title, ms]) => [title, formatMs(ms), medianOfStep(title)]),
]);

async function start(): Promise<Start> {
  const stepsMs = new Map<string, number>();
  const begunMs = new Map<string, number>();
  const begin = performance.now();
  await using sandbox = await heyvm.sandboxes.create(
    { image, backend: "libvirt", type: "shell" },
    {
      onStep: ({ id, title, state, elapsedMs }) => {
        if (state === "started") begunMs.set(id, elapsedMs);
        if (state === "done") stepsMs.set(title, elapsedMs - (begunMs.get(id) ?? 0));
      },
    },
  );
  const command = await sandbox.spawn("echo", ["ready"], { stdin: false });
  await new Promise((resolve) => command.stdout.once("data", resolve));
  const totalMs = performance.now() - begin;
  command.stdout.resume();
  await command.exit;
  return { totalMs, stepsMs, prepared: begunMs.has("prepare") };
}

function medianOfStep(title: string): string {
  const samples = others.flatMap(({ stepsMs }) => stepsMs.get(title) ?? []);
  return samples.length === 0 ? "-" : formatMs(median(samples));
}
