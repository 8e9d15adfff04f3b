import { readFile } from "node:fs/promises";

import { expect, test } from "vitest";

test.each(["deferred.ts", "on-abort.ts"])("libvirt's copy of %s is as it is here", async (name) => {
  const [ours, copy] = await Promise.all(
    [`./${name}`, `../libvirt/${name}`].map(
      async (path) => await readFile(new URL(path, import.meta.url), "utf8"),
    ),
  );
  expect(copy).toBe(ours);
});
