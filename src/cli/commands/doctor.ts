import { type Command, Option } from "commander";

import type { DoctorReport } from "../../sdk/index.ts";
import { setExitCode } from "../exit-code.ts";
import { createInvocation, type Invocation } from "../invocation.ts";
import { printable } from "../output/text.ts";
import { mend, remedyHere } from "../remedies.ts";

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
        heyvm.doctor({ backend: invocation.backend, uri: invocation.uri, signal: invocation.signal });
      let report = await look();
      if (!invocation.json) printReport(invocation, report);
      if (flags.fix === true && (await mend(invocation, report.checks, { yes: flags.yes === true }))) {
        report = await look();
        if (!invocation.json) printReport(invocation, report);
      }
      if (invocation.json) invocation.printJson(report);
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
  for (const line of summary(report)) invocation.print(line);
}

function summary({ checks, verdict }: DoctorReport): string[] {
  if (checks.length === 0) return ["there is nothing to check; what can run here: heyvm backends"];
  const count = (wanted: Check["verdict"]): number =>
    checks.filter((check) => check.verdict === wanted).length;
  const found = [
    plural(count("failure"), "failure"),
    plural(count("warning"), "warning"),
    `${count("ok")} of ${checks.length} checks are fine`,
  ].filter((part) => part !== "");
  const meaning = {
    ok: "sandboxes can run here",
    warning: "sandboxes can run here, though not at their best",
    failure: "sandboxes cannot run here before that is mended",
  };
  const offer = checks.some(
    (check) => check.fixable && check.verdict !== "ok" && remedyHere(check) !== undefined,
  );
  return [
    "",
    `${found.join(", ")}: ${meaning[verdict]}.`,
    ...(offer
      ? ["`heyvm doctor --fix` runs the commands above that are safe to run, after asking for each."]
      : []),
  ];
}

function plural(count: number, noun: string): string {
  return count === 0 ? "" : `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function groupByBackend(checks: readonly Check[]): Map<string, Check[]> {
  const groups = new Map<string, Check[]>();
  for (const check of checks) groups.set(check.backend, [...(groups.get(check.backend) ?? []), check]);
  return groups;
}
