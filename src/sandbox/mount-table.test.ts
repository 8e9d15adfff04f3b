import { execFile, spawnSync } from "node:child_process";
import { mkdir, mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { describe, expect, onTestFinished, test } from "vitest";

import { parseMountTable } from "./mount-table.ts";

/** Lines of a table, each `ID PARENT DEVICE ROOT PATH [OPTIONS [TYPE SOURCE]]`. */
function table(...lines: string[]): ReturnType<typeof parseMountTable> {
  const whole = lines.map((line) => {
    const [id, parent, device, root, path, options = "rw,relatime", ...source] = line.split(" ");
    const of = source.length === 0 ? ["ext4", "/dev/x"] : source;
    return [id, parent, device, root, path, options, "shared:1", "-", ...of, "rw"].join(" ");
  });
  return parseMountTable(`${whole.join("\n")}\n`);
}

describe("the folders around one, by the table", () => {
  const root = "1 0 8:1 / /";
  test.each([
    ["are those of its path", [root], "/p/data", []],
    ["are those of its path where there is no table", [], "/p/data", []],
    [
      "are those that a bound folder is from",
      [root, "2 1 8:1 /p/data /mnt/d"],
      "/mnt/d/x",
      ["/p/data/x", "/p/data", "/p"],
    ],
    [
      "are those that it is bound into",
      [root, "2 1 8:1 /home/u /p/sub"],
      "/home/u/x",
      ["/p/sub/x", "/p/sub", "/p"],
    ],
    ["are none of another file system", [root, "2 1 8:2 / /mnt", "3 1 8:3 / /p"], "/mnt/x", []],
    [
      "are known of two subvolumes by the root of their file system",
      ["1 0 0:30 /@ /", "2 1 0:30 /@home /home", "3 1 0:30 / /top"],
      "/home/u",
      ["/top/@home/u", "/top/@home", "/top"],
    ],
    [
      "are told apart on NFS by what the server calls them",
      [
        root,
        "2 1 0:50 / /n rw nfs4 host:/x",
        "3 1 0:50 / /m rw nfs4 host:/y",
        "4 1 0:50 / /d rw nfs4 host:/x/p",
      ],
      "/d/z",
      ["/n/p/z", "/n/p", "/n"],
    ],
    [
      "are known on NFS of a server's whole tree",
      [root, "2 1 0:50 / /n rw nfs4 host:/", "3 1 0:50 / /d rw nfs4 host:/p/"],
      "/d/z",
      ["/n/p/z", "/n/p", "/n"],
    ],
    [
      "are at least those of its path when what was bound there was removed",
      [root, "2 1 8:1 /p//deleted /d"],
      "/d/z",
      ["/p/deleted/z", "/p/deleted", "/p"],
    ],
    ["are known by names with blanks", [root, "2 1 8:1 /p\\040q\\134 /mnt/d"], "/mnt/d", ["/p q\\", "/"]],
    [
      "are those of what was mounted last",
      [root, "2 1 8:2 / /mnt", "3 2 8:1 /p /mnt"],
      "/mnt/x",
      ["/p/x", "/p"],
    ],
    [
      "are none of what is hidden by a mount above it",
      [root, "2 1 8:1 /p /mnt/deep", "3 1 8:2 / /mnt"],
      "/mnt/deep/x",
      [],
    ],
    [
      "are those that it was bound into before that was hidden, which may be open still",
      [root, "2 1 8:1 /p /mnt/deep", "3 1 8:2 / /mnt"],
      "/p/x",
      ["/mnt/deep/x", "/mnt/deep", "/mnt"],
    ],
    ["are those of its path where the root is no mount", ["5 4 8:1 /p /mnt/d"], "/srv/x", []],
  ])("%s", (_what, lines, path, more) => {
    const own = path.split("/").map((_, index, names) => names.slice(0, index + 1).join("/") || "/");
    expect(table(...lines).foldersAround(path)).toEqual(new Set([...own, ...more]));
  });

  test("count as such that can be written to when their mount is not read-only", () => {
    const mounts = table(root, "2 1 8:1 /home/u /p/sub ro,noatime", "3 1 8:1 /home /q");
    expect(mounts.foldersAround("/home/u")).toContain("/p");
    expect(mounts.writableAround("/home/u")).not.toContain("/p");
    expect(mounts.writableAround("/home/u")).toContain("/q/u");
  });
});

/** An ordinary user needs a namespace in which it is root, to mount. */
const inNamespace = ["--mount", ...(process.getuid?.() === 0 ? [] : ["--map-root-user"])];
const { status, stderr } = spawnSync("unshare", [...inNamespace, "true"], { encoding: "utf8" });
const whyNot = status === 0 ? "" : ` (no mount namespace to be had here: ${stderr})`;

/** Asks for a mount beside a sandbox that may write to `writable`, where `from` is bound to `to`, seen by nobody else. */
async function mountWhere(
  { from, to, readOnly = false }: { from: string; to: string; readOnly?: boolean },
  asked: { path: string; access: "ro" | "rw"; writable?: string; forbidden?: string },
): Promise<unknown> {
  const root = await realpath(await mkdtemp(join(tmpdir(), "hv-bound-")));
  onTestFinished(async () => await rm(root, { recursive: true }));
  for (const name of ["p/data/out", "p/sub", "home/u/out", "d/out"])
    await mkdir(join(root, name), { recursive: true });
  const inRoot = (path: string | undefined): string => (path === undefined ? "" : join(root, path));
  // In the namespace of an ordinary user no flag may be taken away that the folder for temporary files has.
  const flags = `remount,bind,nosuid,nodev,noexec,${readOnly ? "ro" : "rw"}`;
  const bind = 'mount --bind "$1" "$2"; mount -o "$3" "$2"; shift 3; exec "$@"';
  const script = fileURLToPath(new URL("testing/resolve-mount.ts", import.meta.url));
  const { path, access, writable, forbidden } = asked;
  const node = [process.execPath, "--import", "tsx", script, inRoot(path), access, inRoot(writable)];
  const command = ["sh", "-ec", bind, "sh", inRoot(from), inRoot(to), flags, ...node];
  if (forbidden !== undefined) command.push(inRoot(forbidden));
  const { stdout } = await promisify(execFile)("unshare", [...inNamespace, ...command]);
  return JSON.parse(stdout.replaceAll(root, ""));
}

describe.skipIf(whyNot !== "")(`with a folder that the host has bound elsewhere${whyNot}`, () => {
  const reason = 'where sandbox "other" may put links';
  test.each([
    [
      "from a folder that a guest may write to",
      { from: "p/data", to: "d" },
      { path: "d/out", access: "ro", writable: "p" },
      `leads through /d, part of the mount of /p, ${reason}`,
    ],
    [
      "into a folder that a guest may write to",
      { from: "home/u", to: "p/sub" },
      { path: "home/u/out", access: "ro", writable: "p" },
      `leads through /home/u, part of the mount of /p, ${reason}`,
    ],
    [
      "and so is mounted into a guest that may write to it",
      { from: "p", to: "d" },
      { path: "p/data/out", access: "ro", writable: "d" },
      `leads through /p, part of the mount of /d, ${reason}`,
    ],
    [
      "which another sandbox has",
      { from: "p/data", to: "d" },
      { path: "p", access: "rw", writable: "d/out" },
      'sandbox "other" has /d/out below it, and this one could put a link in its place',
    ],
  ] as const)("a mount is refused: %s", async (_what, bound, asked, words) => {
    const refused = await mountWhere(bound, asked);
    expect(refused).toMatchObject({
      code: "permission_denied",
      message: expect.stringMatching(new RegExp(`^cannot mount /${asked.path}: .*${words}$`)),
      details: { field: "mounts[0].host_path" },
    });
  });

  test.each([
    ["it is that folder itself", { from: "p/data", to: "d" }, { path: "d", access: "rw", writable: "p" }],
    [
      "the host made it read-only there",
      { from: "home/u", to: "p/sub", readOnly: true },
      { path: "home/u/out", access: "rw", writable: "p" },
    ],
    [
      "it is what was bound there",
      { from: "home/u", to: "p/sub" },
      { path: "home/u", access: "rw", writable: "p" },
    ],
  ] as const)("a mount is free when %s", async (_what, bound, asked) => {
    expect(await mountWhere(bound, asked)).toEqual({ ok: true });
  });

  test.each([
    ["by another name", { from: "p", to: "d" }, { path: "d/data/out", access: "ro", forbidden: "p/data" }],
    ["from above", { from: "p", to: "d" }, { path: "d", access: "ro", forbidden: "p/data" }],
  ] as const)("the state folder stays hidden %s", async (_what, bound, asked) => {
    expect(await mountWhere(bound, asked)).toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining("nothing in /p/data may be seen by a guest"),
    });
  });
});
