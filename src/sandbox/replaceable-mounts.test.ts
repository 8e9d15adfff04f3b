import { mkdir, mkdtemp, realpath, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { describe, expect, onTestFinished, test, vi } from "vitest";

import { type AskHolders, checkMountsApart, checkWays } from "./replaceable-mounts.ts";

const mount = (hostPath: string, readOnly: boolean) => ({ hostPath, guestPath: `/mnt${hostPath}`, readOnly });
const rw = (hostPath: string) => mount(hostPath, false);
const ro = (hostPath: string) => mount(hostPath, true);
const other = (...mounts: ReturnType<typeof rw>[]) => [{ name: "other", mounts }];

describe("of two sandboxes' mounts", () => {
  test.each([
    [
      "below",
      [ro("/p/data/deep")],
      other(rw("/p")),
      "/p/data/deep",
      'leads through /p, where sandbox "other" may',
    ],
    ["above", [rw("/p")], other(ro("/p/data")), "/p", 'sandbox "other" has /p/data below it'],
  ])("one %s the other that a guest may write to is refused", (_what, mounts, others, path, reason) => {
    expect(() => {
      checkMountsApart(mounts, others);
    }).toThrow(
      expect.objectContaining({
        code: "permission_denied",
        message: expect.stringMatching(`^cannot mount ${path}: .*${reason}`),
        details: { field: "mounts[0].host_path", path },
      }),
    );
  });

  test.each([
    ["both only read", [ro("/p"), ro("/p/data")], other(ro("/p/data"), ro("/p"))],
    ["they are the same folder", [rw("/p")], other(rw("/p"))],
    ["only their names begin the same", [rw("/p")], other(rw("/p2"), rw("/pa/data"))],
    ["the one above is read, and only the one below written", [rw("/p/data")], other(ro("/p"))],
  ])("none is refused when %s", (_what, mounts, others) => {
    expect(() => {
      checkMountsApart(mounts, others);
    }).not.toThrow();
  });
});

/** `p` is what a guest may write to; every link leads out of it, or into it and out again. */
async function folders(): Promise<string> {
  const root = await realpath(await mkdtemp(join(tmpdir(), "hv-way-")));
  onTestFinished(async () => await rm(root, { recursive: true }));
  for (const name of ["p/data", "home/deep", "else"]) await mkdir(join(root, name), { recursive: true });
  await symlink(join(root, "home"), join(root, "p/absolute"));
  await symlink("../home", join(root, "p/relative"));
  await symlink("p/absolute/deep", join(root, "link-of-link"));
  await symlink(join(root, "p"), join(root, "to-p"));
  await symlink("else", join(root, "to-else"));
  return root;
}

async function way(
  path: string,
  own: ReturnType<typeof rw>[],
  others: ReturnType<typeof other>,
): Promise<void> {
  const asked = { field: "mounts[0].host_path", path, resolved: await realpath(path) };
  await checkWays([asked], own, () => others);
}

describe("the way to a mount", () => {
  test.each([
    ["p/data", "alone"],
    ["p/absolute", "it leads to"],
    ["p/relative/deep", "it leads to"],
    ["link-of-link", "it leads to"],
    ["to-p/data", "alone"],
    ["to-p/absolute/../else", "it leads to"],
    ["to-else/../p/./data/", "alone"],
  ])("is refused through what a guest may write to: %s", async (path, hint) => {
    const root = await folders();
    const above = rw(join(root, "p"));
    const refused = (words: string) => ({
      code: "permission_denied",
      message: expect.stringContaining(`its way leads through ${root}/p, where ${words} may put links`),
      details: { field: "mounts[0].host_path", path: `${root}/${path}` },
    });
    const own = way(`${root}/${path}`, [above], []);
    await expect(own).rejects.toMatchObject({
      ...refused("this sandbox"),
      hint: expect.stringContaining(hint),
    });
    await expect(way(`${root}/${path}`, [], other(above))).rejects.toMatchObject(refused('sandbox "other"'));
    await expect(way(`${root}/${path}`, [], other(ro(join(root, "p"))))).resolves.toBeUndefined();
  });

  test("is looked at for all mounts before it is asked, once, who sees folders", async () => {
    const root = await folders();
    const asked = ["home", "to-else"].map((name, index) => {
      return { field: `mounts[${index}].host_path`, path: join(root, name), resolved: join(root, name) };
    });
    const others = vi.fn<AskHolders>(() => other(rw(join(root, "p"))));
    await checkWays(asked, [], others);
    expect(others).toHaveBeenCalledTimes(1);
    await checkWays([], [], others);
    expect(others).toHaveBeenCalledTimes(1);
  });

  test.each(["p", "to-p", "home", "to-else"])("is free when it ends there or elsewhere: %s", async (path) => {
    const root = await folders();
    const above = rw(join(root, "p"));
    await expect(way(join(root, path), [above], other(above))).resolves.toBeUndefined();
  });
});
