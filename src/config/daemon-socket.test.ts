import { expect, test } from "vitest";

import { defaultSocketPath, longestSocketPathBytes } from "./daemon-socket.ts";
import { statePaths } from "./paths.ts";

const short = { XDG_RUNTIME_DIR: "/run/user/7" };
const ofLength = (length: number): string => `/${"s".repeat(length - 1 - "/heyvm.sock".length)}`;

test("the socket stays in the state folder for as long as its path fits", () => {
  const state = statePaths(ofLength(longestSocketPathBytes));
  expect(defaultSocketPath(state, short)).toBe(state.daemonSocket);
});

test("one byte more, and it is in the runtime folder, named after the state folder", () => {
  const state = statePaths(ofLength(longestSocketPathBytes + 1));
  const path = defaultSocketPath(state, short);
  expect(path).toMatch(/^\/run\/user\/7\/heyvm\/[0-9a-f]{16}\.sock$/);
  expect(defaultSocketPath(state, short)).toBe(path);
  expect(defaultSocketPath(statePaths(ofLength(200)), short)).not.toBe(path);
});

test("letters of several bytes count as such", () => {
  const state = statePaths(`/${"ü".repeat(60)}`);
  expect(defaultSocketPath(state, short)).toMatch(/^\/run\/user\/7\//);
});

test.each([{}, { XDG_RUNTIME_DIR: "relative" }, { XDG_RUNTIME_DIR: `/${"r".repeat(100)}` }])(
  "without a runtime directory that serves, it is in the user's own folder in /tmp (%j)",
  (env) => {
    expect(defaultSocketPath(statePaths(ofLength(200)), env)).toMatch(
      /^\/tmp\/heyvm-\d+\/[0-9a-f]{16}\.sock$/,
    );
  },
);
