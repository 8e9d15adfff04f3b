import { expect, onTestFinished, test } from "vitest";

import type { ForthcomingMachine } from "../backends/abilities.ts";
import { resolveSpec } from "./spec.ts";
import { createProcessBackend } from "./testing/process-backend.ts";
import { chooseId } from "./wanted.ts";

const defaults = { image: "debian:12", cpus: 1, memoryBytes: 2 ** 30, ttlSeconds: null };
const surroundings = { forbidden: [], others: async () => await Promise.resolve([]) };

test("a machine that was launched ahead is taken, but not for a sandbox that is to boot", async () => {
  const asked: ForthcomingMachine[] = [];
  const reserveId = (forthcoming: ForthcomingMachine): string => {
    asked.push(forthcoming);
    return "sb-0000000a";
  };
  const backend = { ...createProcessBackend("/nonexistent", { usesImages: true }), reserveId };
  onTestFinished(async () => await backend.close());
  const wanted = { backend, ...(await resolveSpec({}, backend, defaults, surroundings)) };
  expect(chooseId({ ...wanted, boot: undefined })).toBe("sb-0000000a");
  expect(asked).toMatchObject([{ imageReference: "debian:12", cpus: 1 }]);
  expect(chooseId({ ...wanted, boot: "asked for" })).toMatch(/^sb-[0-9a-f]{8}$/);
  expect(chooseId({ ...wanted, boot: "asked for" })).not.toBe("sb-0000000a");
  expect(asked).toHaveLength(1);
});
