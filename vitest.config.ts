import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * The longest first: one that began last would run alone. Where nothing is cached, `session` makes what the others wait
 * for, and `system` makes its own.
 */
const longest = ["e2e/session", "e2e/system", "e2e/clones", "e2e/openrc", "contract/libvirt-session"];
/** A machine that boots keeps a core of its own busy. */
const withMachines = { maxWorkers: 2, sequence: { groupOrder: 1 } };

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- the sequencer's, not an array's
    const sorted = await super.sort(files);
    return sorted.toSorted((one, other) => rankOf(one) - rankOf(other));
  }
}

function rankOf({ moduleId }: TestSpecification): number {
  const index = longest.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
  return index === -1 ? longest.length : index;
}

/** What a test awaits has come long before, or never comes: then the failure says what it was. */
const patience = { poll: { timeout: 60_000 } };

export default defineConfig({
  test: {
    globalSetup: ["test/run-census.ts"],
    maxWorkers: "100%",
    teardownTimeout: 120_000,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "test/*.test.ts", "test/fixtures/*.test.ts", "script/*.test.ts"],
          expect: patience,
          testTimeout: 180_000,
          hookTimeout: 180_000,
        },
      },
      {
        test: {
          name: "contract",
          include: ["test/contract/**/*.test.ts"],
          setupFiles: ["test/failure-reports.ts"],
          expect: patience,
          testTimeout: 180_000,
          hookTimeout: 180_000,
          ...withMachines,
        },
      },
      {
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          setupFiles: ["test/failure-reports.ts"],
          expect: patience,
          testTimeout: 600_000,
          hookTimeout: 900_000,
          ...withMachines,
        },
      },
    ],
  },
});
