import { execFile } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { expect, test } from "vitest";

import { whyOthersMayChange } from "./trust.ts";

/** Lets the user 54321 write to a file of ours, as `setfacl -m u:54321:rw` does; the format is linux/posix_acl_xattr.h's. */
const addAccessEntry = `
import os, struct, sys
none = 0xffffffff
entries = [(1, 6, none), (2, 6, 54321), (4, 4, none), (16, 6, none), (32, 4, none)]
value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
os.setxattr(sys.argv[1], "system.posix_acl_access", value)
`;

async function addEntry(path: string): Promise<void> {
  await promisify(execFile)("python3", ["-c", addAccessEntry, path]);
}

/** A file of ours that our own group may write to as well. */
async function groupFile() {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-trust-"));
  const path = join(folder, "file");
  await writeFile(path, "");
  await chmod(path, 0o664);
  return { path, [Symbol.asyncDispose]: async () => await rm(folder, { recursive: true }) };
}

/** Whether there are such lists here, and our group is ours alone. */
async function canTry(): Promise<boolean> {
  await using file = await groupFile();
  if ((await whyOthersMayChange(file.path, [])) !== undefined) return false;
  return await addEntry(file.path).then(
    () => true,
    () => false,
  );
}

test.runIf(await canTry())(
  "an access list that lets others write is seen behind the group's bits",
  async () => {
    await using file = await groupFile();
    await addEntry(file.path);
    expect(await whyOthersMayChange(file.path, [])).toContain(file.path);
  },
);
