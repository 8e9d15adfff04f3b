import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

import { newSshHostKeys } from "./ssh-host-keys.ts";

test("OpenSSH reads the private key and finds the public one in it; no two are alike", async () => {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-keys-"));
  try {
    const publicKeys = new Set<string>();
    for (const comment of ["root@box", "root@a-longer-name", ""]) {
      const keys = newSshHostKeys(comment);
      const path = join(folder, "key");
      await writeFile(path, keys["ssh_host_ed25519_key"] ?? "", { mode: 0o600 });
      const { stdout } = await promisify(execFile)("ssh-keygen", ["-y", "-f", path]);
      expect(stdout.trim()).toBe(keys["ssh_host_ed25519_key.pub"]?.trim());
      publicKeys.add(stdout.split(" ")[1] ?? "");
    }
    expect(publicKeys.size).toBe(3);
  } finally {
    await rm(folder, { recursive: true });
  }
});
