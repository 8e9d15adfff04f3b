import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

import { blockedAt } from "./file-access.ts";

const stranger = { uid: 54321, gid: 54321 };

test("the folder that keeps another user out is named", async () => {
  const root = await mkdtemp(join(tmpdir(), "heyvm-access-"));
  try {
    const closed = join(root, "closed");
    const file = join(closed, "file");
    await mkdir(closed);
    await writeFile(file, "");
    await chmod(root, 0o755);
    await chmod(closed, 0o755);
    expect(await blockedAt(file, stranger)).toBeUndefined();
    await chmod(file, 0o600);
    expect(await blockedAt(file, stranger)).toBe(file);
    await chmod(closed, 0o700);
    expect(await blockedAt(file, stranger)).toBe(closed);
    const { uid, gid } = await stat(file);
    expect(await blockedAt(file, { uid, gid })).toBeUndefined();
  } finally {
    await rm(root, { recursive: true });
  }
});
