import { expect, test } from "vitest";

import type { CreateSandboxOptions } from "./sandbox-types.ts";
import { toCreateRequest } from "./sandbox-info.ts";

/** As plain JavaScript does, which no types hold back. */
function untyped(options: object): CreateSandboxOptions {
  return { ...options };
}

test.each([
  [{ memory: -1 }, "memory", 'there is no option "memory"', 'did you mean "memoryBytes"?'],
  [{ Name: "box" }, "Name", 'there is no option "Name"', 'did you mean "name"?'],
  [
    { constructor: 1 },
    "constructor",
    'there is no option "constructor"',
    expect.stringMatching(/^known options: name, slug, /),
  ],
  [
    {
      mounts: [
        { hostPath: "/a", sandboxPath: "/b" },
        { hostPath: "/a", sandboxPath: "/b", readonly: true },
      ],
    },
    "mounts[1].readonly",
    'there is no option "readonly" in mounts[1]',
    'did you mean "readOnly"?',
  ],
  [
    { openPorts: [80, { guestPort: 1, port: 2 }] },
    "openPorts[1].port",
    'there is no option "port" in openPorts[1]',
    "known options: guestPort, hostPort",
  ],
  [{ openPorts: [null] }, "openPorts[0]", "openPorts[0] must be an object", undefined],
  [{ mounts: ["/a:/b"] }, "mounts[0]", "mounts[0] must be an object", undefined],
])("%j is refused, as the API refuses an unknown field", (options, field, message, hint) => {
  expect(() => toCreateRequest(untyped(options))).toThrow(
    expect.objectContaining({
      code: "invalid_argument",
      message,
      hint,
      details: { field },
    }),
  );
});

test("options that are there pass, and what is undefined is left out", () => {
  const options = {
    memoryBytes: 5,
    mounts: [{ hostPath: "/a", sandboxPath: "/b" }],
    openPorts: [80],
    name: undefined,
  };
  expect(toCreateRequest(options)).toStrictEqual({
    memory: 5,
    mounts: [{ host_path: "/a", sandbox_path: "/b" }],
    open_ports: [80],
  });
});
