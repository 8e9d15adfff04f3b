/** Other programs, run to their end. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const execFileAsync = promisify(execFile);

/** The command line of the CLI as it is installed: `script/build` makes it. */
export function heyvmCommand(...args: string[]): [string, ...string[]] {
  return [process.execPath, fileURLToPath(new URL("../bin/heyvm", import.meta.url)), ...args];
}

/** Runs a command and answers its output; throws when it fails. */
export async function run([program, ...args]: readonly [string, ...string[]]): Promise<string> {
  return (await execFileAsync(program, args)).stdout;
}
