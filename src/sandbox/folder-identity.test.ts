import { expect, test } from "vitest";

import { promptIdentities } from "./folder-identity.ts";

test("a file system that does not answer keeps one lookup and nobody from going on", async () => {
  const asked: string[] = [];
  const lookUp = async (path: string): Promise<string | undefined> => {
    asked.push(path);
    return path === "/dead" ? await new Promise(() => {}) : `id of ${path}`;
  };
  const paths = ["/dead/deep/er", "/deadline", "/dead/deep", "/dead"];
  const known = new Map([["/deadline", "id of /deadline"]]);
  expect(await promptIdentities(paths, { lookUp, timeoutMs: 1 })).toEqual(known);
  expect(await promptIdentities(paths, { lookUp, timeoutMs: 1 })).toEqual(known);
  expect(asked).toEqual(["/dead", "/deadline", "/deadline"]);
});
