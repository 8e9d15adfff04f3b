/** What the suites work on: a host with heyvm on it, and one sandbox that they share. */
import { expect } from "vitest";

import type { TestHost } from "../../fixtures/host.ts";

export interface Subject {
  host: TestHost;
  /** The name of a sandbox of type python that runs. */
  box: string;
}

/** Runs the CLI, which has to succeed; answers what it printed. */
export async function succeed(host: TestHost, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await host.heyvm(...args);
  expect({ args, code, stderr: code === 0 ? "" : stderr }).toEqual({ args, code: 0, stderr: "" });
  return stdout;
}

/** Runs a shell script in the guest, which has to succeed; answers its standard output. */
export async function inGuest({ host, box }: Subject, script: string): Promise<string> {
  return succeed(host, "exec", "--no-stdin", box, "--", "sh", "-c", script);
}

/** Runs the CLI, which has to fail with this exit code and these words, without a trace of a program. */
export async function expectFailure(
  host: TestHost,
  args: string[],
  code: number,
  ...words: string[]
): Promise<void> {
  const result = await host.heyvm(...args);
  expect({ args, ...result, stdoutBytes: undefined }).toMatchObject({ args, code, stdout: "" });
  for (const word of words) expect(result.stderr).toContain(word);
  expect(result.stderr).not.toMatch(/^\s+at .*:\d+:\d+/m);
}
