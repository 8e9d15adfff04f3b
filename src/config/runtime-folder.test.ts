import { chmod, lstat, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";

import { openRuntimeFolder, runtimeFolder } from "./runtime-folder.ts";

const scratch = await mkdtemp(join(tmpdir(), "heyvm-runtime-"));
afterAll(() => rm(scratch, { recursive: true }));

test("the folder is made for this user alone, and used again", async () => {
  const folder = join(scratch, "new", "heyvm");
  await openRuntimeFolder(folder);
  expect((await lstat(folder)).mode & 0o777).toBe(0o700);
  await openRuntimeFolder(folder);
});

test("one that others may use, or that is a link, is refused", async () => {
  const open = join(scratch, "open");
  await mkdir(open);
  await chmod(open, 0o755);
  await expect(openRuntimeFolder(open)).rejects.toMatchObject({ code: "permission_denied" });
  const link = join(scratch, "link");
  await symlink(scratch, link);
  await expect(openRuntimeFolder(link)).rejects.toMatchObject({ code: "permission_denied" });
});

test.skipIf(process.geteuid?.() === 0)("one of somebody else is refused", async () => {
  await expect(openRuntimeFolder("/root")).rejects.toMatchObject({ code: "permission_denied" });
});

test("without a runtime directory it is the user's own in /tmp", () => {
  expect(runtimeFolder({ XDG_RUNTIME_DIR: "/run/user/7" })).toBe("/run/user/7/heyvm");
  expect(runtimeFolder({})).toMatch(/^\/tmp\/heyvm-\d+$/);
});
