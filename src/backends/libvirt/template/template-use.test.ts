import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createTemplateUse } from "./template-use.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "heyvm-use-"));
});
afterEach(() => rm(folder, { recursive: true }));

test("every request counts, also those that come at once, and the next daemon knows of them", async () => {
  const path = join(folder, "state/templates.json");
  const use = createTemplateUse(path);
  const keys = ["a", "b", "a", "a", "b"];
  expect(await Promise.all(keys.map((key) => use.ask(key)))).toEqual([1, 1, 2, 3, 2]);
  await use.saved();
  expect(JSON.parse(await readFile(path, "utf8"))).toMatchObject({ a: { asked: 3 }, b: { asked: 2 } });
  const next = createTemplateUse(path);
  expect([...(await next.lastUsed()).keys()].toSorted()).toEqual(["a", "b"]);
  expect(await next.ask("a")).toBe(4);
  // Else it would be written into the folder while that is removed.
  await next.saved();
});
