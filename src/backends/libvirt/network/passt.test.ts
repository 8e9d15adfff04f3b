import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { expect, test } from "vitest";

import { hasPasst, listPasst, startPasst, stopPasst } from "./passt.ts";

const { signal } = new AbortController();
// passt drops root's rights to `nobody`, who cannot make a socket in a folder of root's.
const usable = (await hasPasst()) && process.getuid?.() !== 0;

test.skipIf(!usable)(
  "passt listens when the start returns, and is gone with its files after the stop",
  async () => {
    const folder = await mkdtemp("/tmp/heyvm-passt-");
    try {
      const socket = await startPasst(folder, "sb-00000000", signal);
      const client = connect(socket);
      await once(client, "connect");
      client.destroy();
      await stopPasst(folder, "sb-00000000");
      expect(await listPasst(folder)).toEqual([]);
      expect(existsSync(socket)).toBe(false);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
);

test("a start that is cancelled leaves nothing", async () => {
  const folder = await mkdtemp("/tmp/heyvm-passt-");
  try {
    await expect(startPasst(join(folder, "run"), "sb-00000000", AbortSignal.abort())).rejects.toMatchObject({
      name: (await hasPasst()) ? "AbortedError" : "PasstError",
    });
    expect(await listPasst(join(folder, "run"))).toEqual([]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
