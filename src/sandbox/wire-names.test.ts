import { expect, test } from "vitest";
import { z } from "zod";

import { createShape, sandboxShape } from "./shape.ts";
import { fromWire, toWire, wireNameOf } from "./wire-names.ts";

function isMap(schema: unknown): boolean {
  return schema instanceof z.ZodRecord || (schema instanceof z.ZodOptional && isMap(schema.unwrap()));
}

test("names are those that clients know", () => {
  const names = [...Object.keys(createShape.shape), ...Object.keys(sandboxShape.shape)].map(wireNameOf);
  const known = `
    backend_type clone cpu_usage cpus created_at description disk env_vars error_message expires_at host_memory id image labels
    memory memory_usage mounts name needs_network open_ports sandbox_type setup_hooks size_class slug start_command start_mode
    start_reason started_at status ttl_seconds uptime_secs uri warnings working_directory`;
  expect([...new Set(names)].toSorted()).toEqual(known.trim().split(/\s+/));
});

test("names are changed all the way down, and back, but not the words of users", () => {
  const description = {
    type: "python" as const,
    memoryBytes: 5,
    mounts: [{ hostPath: "/a", sandboxPath: "/b", readOnly: true }],
    openPorts: [80, { guestPort: 1, hostPort: 2 }],
    hostMemory: { privateBytes: 1, proportionalBytes: null },
    env: { workingDirectory: "/c", env_vars: "d", ["__proto__"]: "x" },
    labels: { app_name: "e" },
    ttlSeconds: null,
  };
  const onWire = {
    sandbox_type: "python",
    memory: 5,
    mounts: [{ host_path: "/a", sandbox_path: "/b", read_only: true }],
    open_ports: [80, { guest_port: 1, host_port: 2 }],
    host_memory: { private: 1, proportional: null },
    env_vars: { workingDirectory: "/c", env_vars: "d", ["__proto__"]: "x" },
    labels: { app_name: "e" },
    ttl_seconds: null,
  };
  expect(toWire(description)).toEqual(onWire);
  expect(fromWire<typeof description>(toWire(description))).toEqual(description);
});

test("maps of users' words are known as such", () => {
  const fields = Object.entries({ ...createShape.shape, ...sandboxShape.shape });
  const maps = fields.filter(([, schema]) => isMap(schema)).map(([field]) => field);
  for (const field of maps) {
    expect(toWire({ [field]: { someWord: "a" } })).toEqual({ [wireNameOf(field)]: { someWord: "a" } });
  }
  expect(maps).toHaveLength(2);
});

test("what is undefined is not there, and takes nothing's place", () => {
  expect(toWire({ memoryBytes: 5, memory: undefined })).toEqual({ memory: 5 });
});

test("a name on the wire that is no field's keeps its name", () => {
  const document = { memory: 5, memory_bytes: 6, backend: "a", gpuCount: 7 };
  expect(fromWire<Record<string, unknown>>(document)).toEqual({
    memoryBytes: 5,
    memory_bytes: 6,
    backend: "a",
    gpuCount: 7,
  });
});
