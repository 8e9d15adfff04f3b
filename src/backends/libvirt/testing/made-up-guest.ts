/**
 * A guest in name only: a shell in a mount namespace whose `/etc` and `/proc` are the test's, and whose programs are
 * stand-ins that write down how they were called. A script finds nothing of the host's, and so runs nothing of it.
 */
import { execFile, spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { findProgram } from "../program.ts";

export interface MadeUpGuest {
  /** What `sh` is, as a command line: see `guestShells`. */
  shell: readonly string[];
  /** Texts by path, below `/etc` and `/proc`. */
  files: Readonly<Record<string, string>>;
  /** Stand-ins by name, each with what it does beyond writing down its call, as shell. */
  programs: Readonly<Record<string, string>>;
}

export interface ScriptRun {
  code: number | null;
  errors: string;
  /** Each call of a stand-in: its name and arguments. */
  calls: string[];
  /** What is below `/etc` afterwards. */
  files: Record<string, { text: string; mode: number }>;
}

/** The shells that images have as `sh`: Debian's and Ubuntu's, and Alpine's. */
export const guestShells = ["dash", "busybox"] as const;

/** The command line of a guest's shell, or why it cannot be tried here. */
export async function findGuestShell(
  name: (typeof guestShells)[number],
): Promise<{ argv: string[] } | { missing: string }> {
  const program = await findProgram(name);
  if (program === undefined) return { missing: `${name} is not installed` };
  const { status, stderr } = spawnSync("unshare", [...unshareFlags(), "true"], { encoding: "utf8" });
  if (status !== 0) return { missing: `no mount namespace to be had here: ${stderr}` };
  return { argv: name === "busybox" ? [program, "sh"] : [program] };
}

/** What the scripts use that is the same everywhere. */
const commonPrograms = ["cat", "chmod", "grep", "rm"];

/** Runs the script with `-c`, as the agent does, and waits for its end. */
export async function runInMadeUpGuest(
  { shell, files, programs }: MadeUpGuest,
  script: string,
): Promise<ScriptRun> {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-guest-"));
  try {
    for (const name of ["etc", "proc", "bin"]) await mkdir(join(folder, name));
    for (const [path, text] of Object.entries(files)) await put(join(folder, path), text, 0o644);
    const calls = join(folder, "calls");
    await put(calls, "", 0o644);
    for (const name of commonPrograms) {
      await symlink((await findProgram(name)) ?? "/nonexistent", join(folder, "bin", name));
    }
    for (const [name, then] of Object.entries(programs)) {
      await put(join(folder, "bin", name), `#!/bin/sh\necho ${name} "$@" >> ${calls}\n${then}\n`, 0o755);
    }
    const enter =
      'for at in etc proc; do mount --bind "$0/$at" "/$at"; done; export PATH="$0/bin"; exec "$@"';
    const args = [...unshareFlags(), "/bin/sh", "-ec", enter, folder, ...shell, "-c", script];
    const { code, errors } = await run("unshare", args);
    return {
      code,
      errors,
      calls: (await readFile(calls, "utf8")).split("\n").slice(0, -1),
      files: await readTree(join(folder, "etc"), "/etc"),
    };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** An ordinary user needs a namespace in which it is root, to mount. */
function unshareFlags(): string[] {
  return process.getuid?.() === 0 ? ["--mount"] : ["--mount", "--map-root-user"];
}

async function put(path: string, text: string, mode: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text, { mode });
}

async function readTree(folder: string, as: string): Promise<ScriptRun["files"]> {
  const found: ScriptRun["files"] = {};
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) Object.assign(found, await readTree(path, `${as}/${entry.name}`));
    else {
      const { mode } = await stat(path);
      found[`${as}/${entry.name}`] = { text: await readFile(path, "utf8"), mode: mode & 0o777 };
    }
  }
  return found;
}

async function run(
  program: string,
  args: readonly string[],
): Promise<{ code: number | null; errors: string }> {
  return await new Promise((resolve) => {
    const child = execFile(program, args, { timeout: 15_000 }, (_, __, errors) =>
      resolve({ code: child.exitCode, errors }),
    );
  });
}
