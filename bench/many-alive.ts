/**
 * How many sandboxes this host keeps alive at once: makes them one after the other, then asks each of them.
 *
 *     npx tsx bench/many-alive.ts [image] [count]
 */
import { Heyvm, type OwnedSandbox } from "../src/sdk/index.ts";
import { createToFirstOutput } from "./first-output.ts";
import { findQemu, formatMb, measureQemu } from "./qemu-process.ts";
import { formatMs, median, percentile, printTable } from "./statistics.ts";

const [image = "debian:12", count = "50"] = process.argv.slice(2);
const memoryBytes = 1024 ** 3;

using heyvm = await Heyvm.connect({ onNotice: (message) => console.error(message) });
const sandboxes: OwnedSandbox[] = [];
const createMs: number[] = [];
try {
  while (sandboxes.length < Number(count)) {
    const made = await createToFirstOutput(heyvm, { image, type: "shell", memoryBytes });
    sandboxes.push(made.sandbox);
    createMs.push(made.totalMs);
    if (sandboxes.length % 10 === 0) console.error(`${sandboxes.length} of ${count} …`);
  }
  const askedMs = await Promise.all(sandboxes.map(ask));
  const memory = await Promise.all(
    sandboxes.map(async (sandbox) => await measureQemu((await findQemu(sandbox)).pid, memoryBytes)),
  );
  printTable([
    [`${sandboxes.length} sandboxes, all alive`, "median", "p95", "the last ten"],
    [
      "create to first output",
      formatMs(median(createMs)),
      formatMs(percentile(createMs, 0.95)),
      formatMs(median(createMs.slice(-10))),
    ],
    [
      "an answer of its own, all asked at once",
      formatMs(median(askedMs)),
      formatMs(percentile(askedMs, 0.95)),
      "-",
    ],
  ]);
  console.log("");
  const privateBytes = memory.map((one) => one.privateBytes);
  const proportionalBytes = memory.map((one) => one.proportionalBytes);
  console.log(
    `private memory of one: ${formatMb(median(privateBytes))} (median); ` +
      `of all together: ${formatMb(proportionalBytes.reduce((sum, bytes) => sum + bytes, 0))}`,
  );
} finally {
  for (const sandbox of sandboxes) await sandbox[Symbol.asyncDispose]();
}

/** A host name is what no two have in common. */
async function ask(sandbox: OwnedSandbox): Promise<number> {
  const beganMs = performance.now();
  const { stdout, exitCode } = await sandbox.exec("hostname");
  if (exitCode !== 0 || stdout.trim() !== sandbox.info.slug) {
    throw new Error(`${sandbox.name} answered ${JSON.stringify(stdout)} (exit code ${exitCode})`);
  }
  return performance.now() - beganMs;
}
