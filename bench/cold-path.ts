/**
 * From `create` to the first byte of a command's output, on the cold path: with the prepared disk still to be made, and with it
 * there. Usage: npx tsx bench/cold-path.ts [image] [runs]
 */
import { Heyvm } from "../src/sdk/index.ts";
import { formatMs, median, printTable, timed } from "./statistics.ts";

const [image = "debian:12", runs = "3"] = process.argv.slice(2);
using heyvm = await Heyvm.connect();

await heyvm.prune({ everything: true });
const first = await createToFirstOutput();
const warm: number[] = [];
for (let run = 0; run < Number(runs); run += 1) warm.push(await createToFirstOutput());

printTable([
  ["create to first output", "time", "ratio"],
  ["first sandbox of an image and type (makes the prepared disk)", formatMs(first), "1.0"],
  [
    `prepared disk there (median of ${warm.length})`,
    formatMs(median(warm)),
    (median(warm) / first).toFixed(2),
  ],
]);

async function createToFirstOutput(): Promise<number> {
  return timed(async () => {
    await using sandbox = await heyvm.sandboxes.create({ image, backend: "libvirt", type: "shell" });
    const command = await sandbox.spawn("echo", ["ready"], { stdin: false });
    await new Promise((resolve) => command.stdout.once("data", resolve));
    command.stdout.resume();
    await command.exit;
  });
}
