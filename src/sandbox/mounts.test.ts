import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import { resolveMounts } from "./mounts.ts";

async function folders(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "hv-mounts-"));
  onTestFinished(async () => await rm(root, { recursive: true }));
  await mkdir(join(root, "data"));
  await mkdir(join(root, "state"));
  await writeFile(join(root, "file"), "");
  await symlink(join(root, "data"), join(root, "link"));
  await symlink("/", join(root, "slash"));
  await symlink(join(root, "state"), join(root, "hidden"));
  return root;
}

test("a symlink is mounted as the folder that it leads to", async () => {
  const root = await folders();
  expect(
    await resolveMounts([{ hostPath: join(root, "link"), guestPath: "/data/", readOnly: false }], []),
  ).toEqual([{ hostPath: join(root, "data"), guestPath: "/data", readOnly: false }]);
});

test.each([
  ["a missing folder", "missing", "/data", "mounts[0].host_path", "does not exist"],
  ["a file", "file", "/data", "mounts[0].host_path", "is not a folder"],
  ["the root behind a symlink", "slash", "/data", "mounts[0].host_path", "cannot mount /"],
  ["the state folder behind a symlink", "hidden", "/data", "mounts[0].host_path", "may be seen"],
  ["the guest's root", "data", "/", "mounts[0].sandbox_path", "cannot mount over /"],
  ["the guest's /usr", "data", "/usr", "mounts[0].sandbox_path", "cannot mount over /usr"],
  ["a relative guest path", "data", "data", "mounts[0].sandbox_path", "not absolute"],
  ["a guest path with ..", "data", "/data/../etc", "mounts[0].sandbox_path", '".."'],
  ["a guest path with a newline", "data", "/da\nta", "mounts[0].sandbox_path", "control"],
])("%s is refused", async (_what, name, guestPath, field, reason) => {
  const root = await folders();
  const mount = resolveMounts(
    [{ hostPath: join(root, name), guestPath, readOnly: true }],
    [join(root, "state")],
  );
  await expect(mount).rejects.toMatchObject({
    code: "invalid_argument",
    message: expect.stringContaining(reason),
    details: { field },
  });
});

test("two mounts at one place are refused", async () => {
  const root = await folders();
  const mount = { hostPath: join(root, "data"), guestPath: "/data", readOnly: true };
  await expect(resolveMounts([mount, { ...mount, guestPath: "/data/" }], [])).rejects.toMatchObject({
    details: { field: "mounts[1].sandbox_path" },
  });
});
