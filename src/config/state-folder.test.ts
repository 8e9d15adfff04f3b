import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { ensureStateFolder } from "./state-folder.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "heyvm-state-"));
});
afterEach(() => rm(root, { recursive: true }));

test("a state folder is made for its owner alone, also below folders that are not there", async () => {
  const path = join(root, "a/b");
  await ensureStateFolder(path);
  expect(((await stat(path)).mode & 0o777).toString(8)).toBe("700");
  await ensureStateFolder(path);
});

test("one that cannot be made is named, with the setting that gives another", async () => {
  await writeFile(join(root, "file"), "");
  const path = join(root, "file/state");
  await expect(ensureStateFolder(path)).rejects.toMatchObject({
    code: "permission_denied",
    message: expect.stringContaining(path),
    hint: expect.stringContaining("MVM_DATA_DIR"),
  });
});
