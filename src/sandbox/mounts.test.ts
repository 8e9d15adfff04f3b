import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect, onTestFinished, test } from "vitest";

import { resolveMounts } from "./mounts.ts";

const alone = { forbidden: [], others: () => [] };

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

test("a symlink is mounted as the folder that it leads to, and that is said", async () => {
  const root = await folders();
  const [link, data] = [join(root, "link"), join(root, "data")];
  const mount = { guestPath: "/data", readOnly: false };
  expect(await resolveMounts([{ ...mount, hostPath: link }], alone)).toEqual({
    mounts: [{ ...mount, hostPath: data }],
    warnings: [`${link} is reached by a link: the sandbox sees ${data}`],
  });
  expect(await resolveMounts([{ ...mount, hostPath: `${root}/./data/` }], alone)).toEqual({
    mounts: [{ ...mount, hostPath: data }],
    warnings: [],
  });
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
  const mount = resolveMounts([{ hostPath: join(root, name), guestPath, readOnly: true }], {
    ...alone,
    forbidden: [join(root, "state")],
  });
  await expect(mount).rejects.toMatchObject({
    code: "invalid_argument",
    message: expect.stringContaining(reason),
    details: { field },
  });
});

test("the state folder is hidden also when it is a link, and from above", async () => {
  const root = await folders();
  const denied = { message: expect.stringContaining("may be seen") };
  for (const hostPath of [join(root, "state"), join(root, "hidden"), root]) {
    const mount = resolveMounts([{ hostPath, guestPath: "/data", readOnly: true }], {
      ...alone,
      forbidden: [join(root, "hidden")],
    });
    await expect(mount).rejects.toMatchObject(denied);
  }
});

test("two mounts at one place are refused", async () => {
  const root = await folders();
  const mount = { hostPath: join(root, "data"), guestPath: "/data", readOnly: true };
  await expect(resolveMounts([mount, { ...mount, guestPath: "/data/" }], alone)).rejects.toMatchObject({
    details: { field: "mounts[1].sandbox_path" },
  });
});

/** As a user who is not root, because root may read everything. */
async function mountAsNobody(path: string, mode: "ro" | "rw"): Promise<unknown> {
  const script = fileURLToPath(new URL("testing/resolve-mount.ts", import.meta.url));
  const command = [process.execPath, "--import", "tsx", script, path, mode];
  const asNobody =
    process.getuid?.() === 0
      ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", ...command]
      : command;
  const [program = "", ...args] = asNobody;
  const { stdout } = await promisify(execFile)(program, args, { env: { ...process.env, HOME: "/tmp" } });
  return JSON.parse(stdout);
}

test("a folder that the user may not read is refused", async () => {
  const root = await folders();
  await chmod(root, 0o755);
  await chmod(join(root, "data"), 0o000);
  expect(await mountAsNobody(join(root, "data"), "ro")).toMatchObject({
    code: "permission_denied",
    details: { field: "mounts[0].host_path" },
  });
});

test("a folder that the user may only read is mounted read-only or not at all", async () => {
  const root = await folders();
  await chmod(root, 0o755);
  await chmod(join(root, "data"), 0o555);
  expect(await mountAsNobody(join(root, "data"), "ro")).toEqual({ ok: true });
  expect(await mountAsNobody(join(root, "data"), "rw")).toMatchObject({
    code: "permission_denied",
    hint: "mount it read-only: --mount HOST:GUEST:ro",
  });
});
