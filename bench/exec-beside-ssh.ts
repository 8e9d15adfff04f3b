/**
 * `true` in a guest: through heyvm, from a program and from the command line, beside ssh into the same guest.
 *
 *     npx tsx bench/exec-beside-ssh.ts [rounds] [--sandbox ID] [--image debian:12]
 *
 * The ways take turns within a round, so that a busy host hits them alike. What no way can do without is measured in the
 * guest: a process that starts `true` and waits for its end.
 */
import { Heyvm, type Sandbox } from "../src/sdk/index.ts";
import { openBenchSandbox } from "./bench-sandbox.ts";
import { openGuestSsh } from "./guest-ssh.ts";
import { heyvmCommand, run } from "./processes.ts";
import { formatMs, median, percentile, printTable, timed } from "./statistics.ts";

interface Way {
  name: string;
  work: () => Promise<unknown>;
  samples: number[];
}

using heyvm = await Heyvm.connect({ onNotice: (message) => console.error(message) });
await using bench = await openBenchSandbox(heyvm);
const { sandbox, positionals } = bench;
const rounds = Number(positionals[0] ?? 30);
await using ssh = await openGuestSsh(sandbox);
const master = await ssh.openMaster();

const throughSdk = way("heyvm, SDK: sandbox.exec", () => sandbox.exec("true", []));
const throughCli = way("heyvm, CLI: heyvm exec", () => run(heyvmCommand("exec", sandbox.id, "--", "true")));
const freshSsh = way("ssh, a connection each", () => run(["ssh", ...ssh.options, ssh.destination, "true"]));
const sharedSsh = way("ssh, ControlMaster", () => run(["ssh", ...master, ssh.destination, "true"]));
const cliAlone = way("a CLI that does nothing: heyvm --version", () => run(heyvmCommand("--version")));
const sshAlone = way("an ssh that does nothing: ssh -V", () => run(["ssh", "-V"]));
const ways = [throughSdk, throughCli, freshSsh, sharedSsh, cliAlone, sshAlone];

// Whatever is done for the first time only.
for (const { work } of ways) await work();
const inGuest: number[] = [];
for (let round = 0; round < rounds; round += 1) {
  for (const { work, samples } of ways) samples.push(await timed(work));
  inGuest.push(await spawnInGuest(sandbox));
}

const base = median(sharedSsh.samples);
const freshBase = median(freshSsh.samples);
console.log(`true in the guest, ${rounds} rounds`);
printTable([
  ["way", "median", "p95", "to ssh", "to ssh with ControlMaster"],
  ...ways.map(({ name, samples }) => [
    name,
    formatMs(median(samples)),
    formatMs(percentile(samples, 0.95)),
    (median(samples) / freshBase).toFixed(2),
    (median(samples) / base).toFixed(2),
  ]),
]);
console.log(
  `of each, in the guest itself: ${formatMs(median(inGuest))} (p95 ${formatMs(percentile(inGuest, 0.95))})`,
);

function way(name: string, work: () => Promise<unknown>): Way {
  return { name, work, samples: [] };
}

/** Milliseconds, by the guest's clock. */
async function spawnInGuest(sandbox: Sandbox): Promise<number> {
  const script =
    "import subprocess, time; begin = time.monotonic(); subprocess.call(['true']); print((time.monotonic() - begin) * 1e3)";
  return Number((await sandbox.exec("python3", ["-c", script])).stdout);
}
