import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Of the end-to-end tests, the longest first: one that began last would run alone. */
const longest = ["session", "clones", "openrc", "system"];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- the sequencer's, not an array's
    const sorted = await super.sort(files);
    return sorted.toSorted((one, other) => rankOf(one) - rankOf(other));
  }
}

function rankOf({ moduleId }: TestSpecification): number {
  const index = longest.findIndex((name) => moduleId.endsWith(`/e2e/${name}.test.ts`));
  return index === -1 ? longest.length : index;
}

/** What a test awaits has come long before, or never comes: then the failure says what it was. */
const patience = { poll: { timeout: 60_000 } };

export default defineConfig({
  test: {
    globalSetup: ["test/run-census.ts"],
    maxWorkers: "100%",
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "test/*.test.ts", "script/*.test.ts"],
          expect: patience,
          testTimeout: 90_000,
          hookTimeout: 90_000,
        },
      },
      {
        test: {
          name: "contract",
          include: ["test/contract/**/*.test.ts", "test/fixtures/*.test.ts"],
          expect: patience,
          testTimeout: 90_000,
          hookTimeout: 90_000,
        },
      },
      {
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          expect: patience,
          testTimeout: 600_000,
          hookTimeout: 900_000,
          // A machine that boots keeps a core of its own busy.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
