import { expect, test } from "vitest";

import { cutLines } from "./cut-lines.ts";
import { linesOf } from "./logs.ts";

const messages = (text: string) => linesOf(Buffer.from(text), "console", 0).map(({ message }) => message);

test("lines come without what would steer a terminal, and as a carriage return left them", () => {
  expect(
    messages("\u001B[31mred\u001B[0m\n 10%\r100%\r\n\u001B]0;title\u0007a\u001B]8;;x\u001B\\b\tc\u0000\n"),
  ).toEqual(["red", "100%", "ab\tc"]);
});

// Quadratic work on this took an hour.
test("a mebibyte of escape sequences without an end is looked at once", () => {
  expect(messages("\u001B]".repeat(524_288))).toEqual([]);
  expect(messages(`${"\u001B]a".repeat(300_000)}\nnext`)).toHaveLength(2);
});

test("a line without an end is shown to a length that somebody reads", () => {
  expect(messages("a".repeat(1_000_000))[0]).toHaveLength(16_384);
});

async function cut(chunks: string[], maxBytes?: number): Promise<string[]> {
  const stream = (async function* () {
    for (const chunk of chunks) yield Buffer.from(chunk);
  })();
  const lines: string[] = [];
  for await (const line of cutLines(stream, maxBytes)) lines.push(line.toString());
  return lines;
}

test("a stream is cut at the ends of its lines, and where one gets too long", async () => {
  expect(await cut(["a\nb", "c\n\n", "d"])).toEqual(["a", "bc", "", "d"]);
  expect(await cut(["abcdefgh\ni\n"], 3)).toEqual(["abc", "def", "gh", "i"]);
  expect(await cut(["ab", "cd", "ef"], 3)).toEqual(["abc", "def"]);
});
