/**
 * Vitest's set-up of every file whose tests have hosts: when a test or a hook has failed, what its hosts wrote is kept and
 * printed, so that the run's output is enough to understand it elsewhere.
 *
 * Around everything else, for only there is a failure of `afterEach` and `afterAll` known.
 */
import { aroundAll, aroundEach, type RunnerTestSuite } from "vitest";

import { type FailedTest, failureReport } from "./fixtures/host/failure-report.ts";
import { forgetEnded, hasHosts, tracesOfHosts } from "./fixtures/host/watched-hosts.ts";

/** Of a file: the first failure is often that of its machine, and then they all fail. */
const mostReports = 3;
const timeoutMs = 120_000;

let failures = 0;
const told = new Set<RunnerTestSuite>();

aroundEach(async (runTest, { task }) => {
  // By now a `beforeAll` further up has failed or not, and its host is often still there.
  await reportFailedHooks(task.file);
  forgetEnded();
  await runTest();
  const { state, errors } = task.result ?? {};
  if (state === "fail") await report({ name: task.fullName, errors: errors ?? [] });
  forgetEnded();
}, timeoutMs);

// oxlint-disable-next-line no-empty-pattern -- vitest reads there what a hook wants
aroundAll(async (runSuite, {}, file) => {
  await runSuite();
  await reportFailedHooks(file);
  const more = failures - mostReports;
  if (more <= 0) return;
  console.error(`==== ${more} more failed in ${file.name}: what their hosts wrote was not kept`);
}, timeoutMs);

/** Errors of a suite itself are those of its hooks. */
async function reportFailedHooks(suite: RunnerTestSuite): Promise<void> {
  for (const task of suite.tasks) {
    if (task.type === "suite") await reportFailedHooks(task);
  }
  const errors = suite.result?.errors ?? [];
  if (errors.length === 0 || told.has(suite)) return;
  told.add(suite);
  // One that has failed has never come to its end.
  const hooks = Object.entries(suite.result?.hooks ?? {}).filter(([, state]) => state === "run");
  await report({ name: `${suite.fullName} > ${hooks.map(([name]) => name).join(" and ")}`, errors });
}

/** Never rejects: the failure of the test is what counts. */
async function report(test: FailedTest): Promise<void> {
  if (!hasHosts()) return;
  failures += 1;
  if (failures > mostReports) return;
  try {
    console.error(await failureReport(test, await tracesOfHosts()));
  } catch (error) {
    console.error(
      `==== ${test.name} has failed, and what its hosts wrote could not be told: ${String(error)}`,
    );
  }
}
