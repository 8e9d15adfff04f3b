import { execFileSync } from "node:child_process";

import { expect, test } from "vitest";

import { shellQuoted } from "./shell-quoted.ts";

test.each(["/srv/data", "", "a b", "it's", "$(id)", "`id`", "~/x", "a\nb", "*", "-n", "é"])(
  "%j is one word of a shell that is the same",
  (word) => {
    const words = execFileSync("sh", [
      "-c",
      `for word in ${shellQuoted(word)}; do printf '<%s>' "$word"; done`,
    ]);
    expect(words.toString()).toBe(`<${word}>`);
  },
);

test("a common path stays readable", () =>
  expect(shellQuoted("/home/me/my-project_1.2")).toBe("/home/me/my-project_1.2"));
