/** What mends a finding of the doctor on this machine, and the running of it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { userInfo } from "node:os";
import { delimiter, join } from "node:path";

import type { DoctorReport } from "../sdk/index.ts";
import { confirm } from "./confirm.ts";
import type { Invocation } from "./invocation.ts";
import { printable } from "./output/text.ts";
import { packageFamily } from "./package-family.ts";

type Check = DoctorReport["checks"][number];

/** The command for this machine's package manager; root's goes without `sudo`, which it may not even have. */
export function remedyHere(
  { remedy, verdict }: Check,
  isRoot = process.getuid?.() === 0,
  family = packageFamily(),
): string | undefined {
  if (remedy === undefined || verdict === "ok") return undefined;
  const command = (family === undefined ? undefined : remedy[family]) ?? remedy.any ?? remedy.debian;
  return isRoot ? command?.replaceAll(/\bsudo /g, "") : command;
}

/** Runs what may be run, each command once. Whether anything was done. */
export async function mend(
  invocation: Invocation,
  checks: readonly Check[],
  { yes }: { yes: boolean },
): Promise<boolean> {
  const remedies = checks.filter(({ fixable }) => fixable).map((check) => remedyHere(check));
  let mended = false;
  for (const remedy of new Set(remedies)) {
    if (remedy === undefined) continue;
    if (usesSudo(remedy) && !hasSudo()) {
      invocation.note(`there is no sudo here; as root: ${printable(forRoot(remedy))}`);
      continue;
    }
    if (yes) invocation.note(`running \`${printable(remedy)}\``);
    else if (!(await confirm(invocation, `Run \`${printable(remedy)}\`?`))) continue;
    mended = true;
    await runRemedy(invocation, remedy);
  }
  if (remedies.every((remedy) => remedy === undefined))
    invocation.note("there is nothing that --fix may mend");
  return mended;
}

function usesSudo(remedy: string): boolean {
  return /\bsudo /.test(remedy);
}

function hasSudo(): boolean {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return folders.some((folder) => existsSync(join(folder, "sudo")));
}

/** As root would type it on this user's behalf. */
function forRoot(remedy: string): string {
  return remedy.replaceAll(/\bsudo /g, "").replaceAll('"$USER"', userInfo().username);
}

/** A remedy is a command line for people, made by heyvm itself: the one place for a shell. */
async function runRemedy(invocation: Invocation, remedy: string): Promise<void> {
  const child = spawn("/bin/sh", ["-c", remedy], {
    // The results' output stays for the report.
    stdio: ["inherit", 2, 2],
    env: { ...process.env, USER: process.env["USER"] ?? userInfo().username },
    signal: invocation.signal,
  });
  const [code, signal] = await once(child, "exit");
  if (code === 0) return;
  const how = code === null ? `was ended by ${String(signal)}` : `failed with exit code ${String(code)}`;
  invocation.note(`${invocation.errorStyle.yellow("warning:")} \`${printable(remedy)}\` ${how}`);
}
