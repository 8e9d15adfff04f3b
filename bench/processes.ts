/** Other programs, run to their end. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

type Command = readonly [string, ...string[]];

const execFileAsync = promisify(execFile);

/** The command line of the CLI as it is installed, `node bin/heyvm`: `script/build` makes what that runs. */
export function heyvmCommand(...args: string[]): [string, ...string[]] {
  return [process.execPath, fileURLToPath(new URL("../bin/heyvm", import.meta.url)), ...args];
}

/** Runs a command and answers its output; throws when it fails. */
export async function run(command: Command): Promise<string> {
  return (await runToEnd(command)).stdout;
}

/** The same with both outputs, in an environment of its own. One that takes longer than `timeoutMs` is ended, and has failed. */
export async function runToEnd(
  [program, ...args]: Command,
  { env, timeoutMs }: { env?: NodeJS.ProcessEnv; timeoutMs?: number } = {},
): Promise<{ stdout: string; stderr: string }> {
  return await execFileAsync(program, args, { env, timeout: timeoutMs });
}
