import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import { resolveMounts } from "./mounts.ts";
import { outermostFirst } from "./nested-mounts.ts";

test.each([
  [
    ["/w/c", "/w"],
    ["/w", "/w/c"],
  ],
  [
    ["/a/b/c", "/w2", "/a/b", "/w", "/a"],
    ["/w2", "/w", "/a", "/a/b", "/a/b/c"],
  ],
])("mounts at %j are mounted as %j", (asked, mounted) => {
  const mounts = asked.map((guestPath) => ({ guestPath }));
  expect(outermostFirst(mounts).map(({ guestPath }) => guestPath)).toEqual(mounted);
});

async function folders(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "hv-nested-"));
  onTestFinished(async () => await rm(root, { recursive: true }));
  for (const name of ["outer/folder", "outer/deep/folder", "inner"])
    await mkdir(join(root, name), { recursive: true });
  await writeFile(join(root, "outer/file"), "");
  await symlink("folder", join(root, "outer/link"));
  return root;
}

/** Mounts `inner` below `outer`, the outer one last. */
async function nest(root: string, below: string, outerReadOnly: boolean): Promise<unknown> {
  return await resolveMounts(
    [
      { hostPath: join(root, "inner"), guestPath: below, readOnly: false },
      { hostPath: join(root, "outer"), guestPath: "/w", readOnly: outerReadOnly },
    ],
    { forbidden: [], others: () => [] },
  );
}

test.each([
  ["/w/folder", true],
  ["/w/deep/folder", true],
  ["/w/missing", false],
  ["/w2/missing", true],
])("a mount at %s has a place (the one at /w is read-only: %s)", async (below, outerReadOnly) => {
  await expect(nest(await folders(), below, outerReadOnly)).resolves.toMatchObject({ warnings: [] });
});

test("a place that is missing in a read-only mount is named, with what makes it", async () => {
  const root = await folders();
  await expect(nest(root, "/w/deep/missing", true)).rejects.toMatchObject({
    code: "invalid_argument",
    message: `cannot mount at /w/deep/missing: /w is mounted read-only, and there is no folder ${root}/outer/deep/missing to mount it on`,
    hint: `mkdir -p ${root}/outer/deep/missing`,
    details: { field: "mounts[0].sandbox_path" },
  });
});

test.each(["/w/file", "/w/link", "/w/file/below"])("a mount at %s has no place", async (below) => {
  await expect(nest(await folders(), below, false)).rejects.toMatchObject({
    code: "invalid_argument",
    message: expect.stringContaining("is no folder"),
  });
});
