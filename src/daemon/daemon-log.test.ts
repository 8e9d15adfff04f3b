import { mkdir, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { beforeEach, expect, onTestFinished, test } from "vitest";

import { type StatePaths, statePaths } from "../config/paths.ts";
import { openDaemonLog } from "./daemon-log.ts";

let state: StatePaths;
beforeEach(async () => {
  const root = await mkdtemp(join(tmpdir(), "hv-log-"));
  onTestFinished(async () => await rm(root, { recursive: true }));
  state = statePaths(root);
});

/** More than a file of the log may have. */
const much = { text: "x".repeat(9 * 1_048_576) };

test("a log that is full begins anew, with the one before it beside it", async () => {
  using log = openDaemonLog(state);
  log.info(much, "first");
  log.info({}, "second");
  expect((await stat(state.daemonLogPrevious)).size).toBeGreaterThan(9 * 1_048_576);
  expect(await readFile(state.daemonLog, "utf8")).toMatch(/^[^\n]*"msg":"second"\}\n$/);
});

test("one that cannot begin anew goes on, until it can", async () => {
  await mkdir(join(state.daemonLogPrevious, "in the way"), { recursive: true });
  using log = openDaemonLog(state);
  log.info(much, "first");
  log.info({}, "second");
  expect((await readFile(state.daemonLog, "utf8")).slice(-200)).toContain("second");
  await rm(state.daemonLogPrevious, { recursive: true });
  log.info({}, "third");
  expect(await readFile(state.daemonLog, "utf8")).toMatch(/^[^\n]*"msg":"third"\}\n$/);
});
