import { spawn } from "node:child_process";
import { once } from "node:events";

import { type Command, Option } from "commander";

import type { DoctorReport } from "../../sdk/index.ts";
import { confirm } from "../confirm.ts";
import { setExitCode } from "../exit-code.ts";
import { createInvocation, type Invocation } from "../invocation.ts";
import { printable } from "../output/text.ts";
import { packageFamily } from "../package-family.ts";

type Check = DoctorReport["checks"][number];

interface DoctorFlags {
  fix?: boolean;
  yes?: boolean;
}

/** Something that a backend needs is missing. */
const failureExitCode = 5;

export function define(command: Command): void {
  command
    .addOption(new Option("--fix", "mend what safely can be mended, after asking for each"))
    .addOption(new Option("-y, --yes", "with --fix: don't ask"))
    .addHelpText("after", "\nThe exit code is 5 when something that is needed is missing, 0 otherwise.")
    .action(async (flags: DoctorFlags) => {
      const invocation = createInvocation(command);
      const heyvm = await invocation.connect();
      const look = (): Promise<DoctorReport> =>
        heyvm.doctor({ backend: invocation.backend, signal: invocation.signal });
      let report = await look();
      if (flags.fix === true) {
        if (!invocation.json) printReport(invocation, report);
        if (await mend(invocation, report, flags.yes === true)) report = await look();
      }
      if (invocation.json) invocation.printJson(report);
      else printReport(invocation, report);
      if (report.verdict === "failure") setExitCode(failureExitCode);
    });
}

function printReport(invocation: Invocation, report: DoctorReport): void {
  const { style } = invocation;
  const marks = { ok: style.green("✓"), warning: style.yellow("!"), failure: style.red("✗") };
  const sections = groupByBackend(report.checks);
  for (const [backend, checks] of sections) {
    invocation.print(style.bold(backend));
    for (const check of checks) {
      invocation.print(`  ${marks[check.verdict]} ${printable(check.title)}: ${printable(check.message)}`);
      const remedy = check.verdict === "ok" ? undefined : remedyHere(check);
      if (remedy !== undefined) invocation.print(`      ${style.cyan(remedy)}`);
    }
  }
  const broken = report.checks.filter(({ verdict }) => verdict === "failure").length;
  const doubtful = report.checks.filter(({ verdict }) => verdict === "warning").length;
  const summary = broken + doubtful === 0 ? "all is well" : `${broken} failed, ${doubtful} with a warning`;
  invocation.print(`\n${report.checks.length} checks: ${summary}`);
}

function groupByBackend(checks: readonly Check[]): Map<string, Check[]> {
  const groups = new Map<string, Check[]>();
  for (const check of checks) groups.set(check.backend, [...(groups.get(check.backend) ?? []), check]);
  return groups;
}

function remedyHere(check: Check): string | undefined {
  const { remedy } = check;
  if (remedy === undefined) return undefined;
  const family = packageFamily();
  return (family === undefined ? undefined : remedy[family]) ?? remedy.any ?? remedy.debian;
}

/** Whether anything was done. */
async function mend(invocation: Invocation, report: DoctorReport, yes: boolean): Promise<boolean> {
  let mended = false;
  for (const check of report.checks) {
    const remedy = check.verdict === "ok" || !check.fixable ? undefined : remedyHere(check);
    if (remedy === undefined) continue;
    if (!yes && !(await confirm(invocation, `Run \`${printable(remedy)}\`?`))) continue;
    mended = true;
    // The remedy is a command line for people, made by heyvm itself: the one place for a shell.
    const child = spawn("/bin/sh", ["-c", remedy], { stdio: ["inherit", 2, 2], signal: invocation.signal });
    const [code] = await once(child, "exit");
    if (code !== 0)
      invocation.note(`${invocation.errorStyle.yellow("warning:")} it failed with exit code ${String(code)}`);
  }
  return mended;
}
