/** What the suites work on: a host with heyvm on it, and one sandbox that they share. */
import { expect } from "vitest";

import type { RunResult } from "../../fixtures/host/command.ts";
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

/** Waits until a shell command of the guest's succeeds; a minute at most, as `expect.poll` does. */
export async function soonInGuest(subject: Subject, condition: string): Promise<void> {
  await inGuest(subject, `for i in $(seq 600); do if ${condition}; then exit 0; fi; sleep 0.1; done; exit 1`);
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

/** Ends the daemon of a state folder, and waits for its end. */
export async function endDaemon(host: TestHost, signal: "TERM" | "KILL", folder?: string): Promise<void> {
  const pid = `sed -n 's/.*"pid": *\\([0-9]*\\).*/\\1/p' ${folder ?? host.paths.data}/daemon.json`;
  const script = `pid=$(${pid}); kill -${signal} $pid; while kill -0 $pid 2> /dev/null; do sleep 0.1; done`;
  const { code, stderr } = await host.run(["sh", "-c", script]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
}

/** Another state folder of the same user, which knows the images that the first one has verified. */
export interface OtherStateFolder extends AsyncDisposable {
  /** Runs the CLI with it. */
  heyvm(...args: string[]): Promise<RunResult>;
}

/** It goes with its sandboxes and its daemon. */
export async function otherStateFolder(host: TestHost): Promise<OtherStateFolder> {
  const folder = `${host.paths.home}/other`;
  const onHost = async (script: string): Promise<void> => {
    expect(await host.run(["sh", "-ec", script])).toMatchObject({ code: 0, stderr: "" });
  };
  await onHost(`mkdir ${folder}; cp ${host.paths.data}/images.json ${folder}`);
  const heyvm = (...args: string[]): Promise<RunResult> =>
    host.run(host.heyvmCommand(...args), { env: { MVM_DATA_DIR: folder } });
  return {
    heyvm,
    async [Symbol.asyncDispose]() {
      const { stdout } = await heyvm("list", "--all", "--format", "json");
      for (const { id } of JSON.parse(stdout)) await heyvm("rm", "--yes", id);
      await endDaemon(host, "TERM", folder);
      await onHost(`rm -r ${folder}`);
    },
  };
}
