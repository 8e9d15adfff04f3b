import { text } from "node:stream/consumers";

import { describe, expect, test } from "vitest";

import { createEscapeFilter } from "./escape-keys.ts";

async function typed(...chunks: string[]): Promise<{ passed: string; left: boolean }> {
  let left = false;
  const filter = createEscapeFilter(() => {
    left = true;
  });
  for (const chunk of chunks) filter.write(chunk);
  filter.end();
  return { passed: await text(filter), left };
}

describe("escape keys", () => {
  test.each([
    [["~."], ""],
    [["ls\r~."], ""],
    [["ls\r", "~", "."], "ls\r"],
  ])("%j leaves", async (chunks, passed) => {
    expect(await typed(...chunks)).toEqual({ passed, left: true });
  });

  test.each(["a~.", "cd ~/src\r", "~~.".replace("~~", "x~"), "\u0003\u0004\u001B[A"])(
    "%j passes unchanged",
    async (keys) => expect(await typed(keys)).toEqual({ passed: keys, left: false }),
  );

  test("a tilde at the beginning of a line is an ordinary key unless a dot follows; two are one", async () => {
    expect(await typed("~a")).toEqual({ passed: "~a", left: false });
    expect(await typed("~~.")).toEqual({ passed: "~.", left: false });
  });
});
