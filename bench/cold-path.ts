/**
 * From `create` to the first byte of a command's output, on the cold path: with the prepared disk still to be made, and
 * with it there. The image is downloaded before and not counted.
 *
 *     npx tsx bench/cold-path.ts [image] [runs] [type]
 *
 * Removes prepared disks that no sandbox stands on; the next sandboxes of theirs make them again.
 */
import { z } from "zod";

import { sandboxTypes } from "../src/config/machine-kinds.ts";
import { Heyvm } from "../src/sdk/index.ts";
import { createToFirstOutput, type FirstOutput } from "./first-output.ts";
import { formatMs, median, printTable } from "./statistics.ts";

/** A first output, and what it took. */
type Start = Omit<FirstOutput, "sandbox">;

const [image = "debian:12", runs = "3", wantedType = "shell"] = process.argv.slice(2);
const type = z.enum(sandboxTypes).parse(wantedType);
using heyvm = await Heyvm.connect({ onNotice: (message) => console.error(message) });

await heyvm.images.pull(image);
await heyvm.prune({ everything: true });
const first = await start();
if (!first.stepsMs.has(`Preparing ${image} for ${type} (once)`)) {
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
  const { sandbox, ...start } = await createToFirstOutput(heyvm, {
    image,
    backend: "libvirt",
    type,
    clone: false,
  });
  await using _owned = sandbox;
  return start;
}

function medianOfStep(title: string): string {
  const samples = others.flatMap(({ stepsMs }) => stepsMs.get(title) ?? []);
  return samples.length === 0 ? "-" : formatMs(median(samples));
}
