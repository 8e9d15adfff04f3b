/** What every command gets: where to print, whom to ask, when to stop. */
import type { Command } from "commander";

import type { Heyvm } from "../sdk/index.ts";
import { type Interruption, listenForInterruption } from "./interruption.ts";
import { createProgress, type Progress } from "./output/progress.ts";
import { createStyle, type Style, usesColors } from "./output/style.ts";
import { type Column, renderTable } from "./output/table.ts";

interface GlobalOptions {
  format?: "text" | "json" | undefined;
  debug?: boolean | undefined;
  uri?: string | undefined;
  backendType?: string | undefined;
  backend?: string | undefined;
}

export interface Invocation {
  readonly json: boolean;
  readonly debug: boolean;
  readonly uri: string | undefined;
  readonly backend: string | undefined;
  readonly interruption: Interruption;
  readonly signal: AbortSignal;
  /** For stdout and for stderr. */
  readonly style: Style;
  readonly errorStyle: Style;
  /** The daemon's client; started when there is none. */
  connect(options?: { autostart?: boolean }): Promise<Heyvm>;
  /** One line of result. */
  print(line: string): void;
  /** One document of result: indented for people, one line for programs. */
  printJson(value: unknown): void;
  printTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): void;
  /** One line for the user, beside the results. */
  note(line: string): void;
  progress(): Progress;
}

/** For commands whose work the daemon undoes when they are interrupted. */
export const undone = { stopping: "stopping, and undoing what was begun; once more to leave at once" };

/** `stopping` is what the user is told at the first Ctrl-C; nothing when it is empty. */
export function createInvocation(
  command: Command,
  { stopping = "stopping; once more to leave at once" } = {},
): Invocation {
  const options = command.optsWithGlobals<GlobalOptions>();
  const { stdout, stderr } = process;
  const json = options.format === "json";
  const debug = options.debug === true;
  const errorStyle = createStyle(usesColors(stderr));
  const style = createStyle(usesColors(stdout));
  // While steps are shown, a line that is not theirs has to go above them.
  let shown: Progress | undefined;
  const note = (line: string): void => {
    if (shown === undefined) stderr.write(`${line}\n`);
    else shown.note(line);
  };
  const interruption = listenForInterruption(() => {
    if (stderr.isTTY && stopping !== "") note(errorStyle.dim(stopping));
  });
  return {
    json,
    debug,
    uri: options.uri,
    backend: options.backendType ?? options.backend,
    interruption,
    signal: interruption.signal,
    style,
    errorStyle,
    async connect({ autostart = true } = {}) {
      const { Heyvm } = await import("../sdk/heyvm.ts");
      return await Heyvm.connect({
        autostart,
        signal: interruption.signal,
        onNotice: (message) => note(`${errorStyle.yellow("note:")} ${message}`),
        onRequest: debug ? (line) => note(errorStyle.dim(`debug: ${line}`)) : undefined,
      });
    },
    print: (line) => void stdout.write(`${line}\n`),
    printJson: (value) => void stdout.write(`${JSON.stringify(value, undefined, stdout.isTTY ? 2 : 0)}\n`),
    printTable(columns, rows) {
      const width = stdout.isTTY ? stdout.columns : undefined;
      for (const line of renderTable(columns, rows, { width, paintTitle: style.bold }))
        stdout.write(`${line}\n`);
    },
    note,
    progress() {
      const progress = createProgress({
        write: (text) => void stderr.write(text),
        live: stderr.isTTY && process.env["TERM"] !== "dumb",
        columns: () => stderr.columns,
        style: errorStyle,
      });
      shown = progress;
      return {
        ...progress,
        finish(outcome) {
          shown = undefined;
          progress.finish(outcome);
        },
      };
    },
  };
}
