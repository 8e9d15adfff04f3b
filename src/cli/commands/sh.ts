import { pipeline } from "node:stream/promises";

import type { Command } from "commander";

import { environmentOption, type KeyValues } from "../arguments/repeated.ts";
import { asCommandFailure, runAttached } from "../attached-command.ts";
import { createEscapeFilter } from "../escape-keys.ts";
import { setExitCode } from "../exit-code.ts";
import { exitCodeOfSignal } from "../interruption.ts";
import { createInvocation, type Invocation } from "../invocation.ts";
import type { SandboxActions } from "../../sdk/index.ts";
import { enterRawMode, followTerminalSize, terminalSize } from "../terminal.ts";

const tellBrokenAfterMs = 1500;

interface ShellFlags {
  cwd?: string;
  user?: string;
  env?: KeyValues;
}

export function define(command: Command): void {
  command
    .argument("<id>", "sandbox")
    .option("--cwd <path>", "where it begins; default: the sandbox's working directory")
    .option("--user <user>", "as whom: name or number; default: root")
    .addOption(
      environmentOption("-e, --env <name[=value]>", "environment variable, or one to pass on; repeats"),
    )
    .addHelpText(
      "after",
      `
Leave with exit or Ctrl-D; when the guest doesn't answer any more, with ~. at the beginning of a line.
Without a terminal on stdin, sh reads its commands from there:  heyvm sh web < script.sh`,
    )
    .action(async (id: string, flags: ShellFlags) => {
      const invocation = createInvocation(command);
      const exitCode = await asCommandFailure(async () => {
        const heyvm = await invocation.connect();
        const shell = process.stdin.isTTY ? interactive : scripted;
        return await shell(invocation, heyvm.sandboxes.at(id), flags);
      });
      setExitCode(exitCode);
    });
}

async function interactive(
  invocation: Invocation,
  sandbox: SandboxActions,
  flags: ShellFlags,
): Promise<number> {
  const term = process.env["TERM"];
  const env = { ...(term === undefined ? {} : { TERM: term }), ...flags.env };
  using connection = showConnection();
  await using shell = await sandbox.shell({
    ...flags,
    env,
    ...terminalSize(),
    onConnection: connection.onChange,
    signal: invocation.signal,
  });
  let left: number | undefined;
  const leave = (exitCode: number): void => {
    left = exitCode;
    shell.close();
  };
  using _signals = invocation.interruption.takeOver((signal) => leave(exitCodeOfSignal(signal)));
  using raw = enterRawMode();
  using _size = followTerminalSize((size) => shell.resize(size));
  const keys = createEscapeFilter(() => leave(1));
  // Ends when the shell does: that is no failure of the typing.
  void pipeline(process.stdin, keys, shell.input).catch(() => undefined);
  const shown = pipeline(shell.output, process.stdout, { end: false }).catch(() => undefined);
  try {
    const exitCode = await shell.exit;
    await shown;
    return left ?? exitCode;
  } catch (error) {
    raw.resetModes();
    if (left !== undefined) return left;
    throw error;
  }
}

/** Says why nothing moves on a terminal whose connection broke: not of one that is back at once. */
function showConnection(): Disposable & { onChange: (state: "broken" | "back") => void } {
  let timer: NodeJS.Timeout | undefined;
  let hasTold = false;
  return {
    onChange(state) {
      clearTimeout(timer);
      if (state === "back") {
        if (hasTold) tell("the connection is back");
        hasTold = false;
      } else {
        timer = setTimeout(() => {
          hasTold = true;
          tell("the connection broke and is tried again for a minute; Enter ~. leaves");
        }, tellBrokenAfterMs);
      }
    },
    [Symbol.dispose]: () => clearTimeout(timer),
  };
}

/** The terminal is raw: a line feed alone does not go to the beginning of a line. */
function tell(text: string): void {
  process.stderr.write(`\r\n[heyvm: ${text}]\r\n`);
}

/** `heyvm sh ID < script`: a shell on pipes. */
async function scripted(invocation: Invocation, sandbox: SandboxActions, flags: ShellFlags): Promise<number> {
  return await runAttached(invocation, sandbox, ["sh"], { ...flags, tty: false, stdin: true });
}
