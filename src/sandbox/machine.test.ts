import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";

import type { MachineState, MachineStatus } from "../backends/backend.ts";
import { machineEnd } from "./machine.ts";

/** A backend's machine, and what it tells of it. */
function machine(state: MachineState) {
  const listeners = new Set<(status: MachineStatus) => void>();
  const made = {
    state,
    watch(listener: (status: MachineStatus) => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    status: async (id: string): Promise<MachineStatus> => await Promise.resolve({ id, state: made.state }),
    async tell(status: MachineStatus): Promise<void> {
      for (const listener of listeners) listener(status);
      await turn();
    },
  };
  return made;
}

const id = "sb-0123abcd";

test("an end that is told late, of a machine that was started again, is none", async () => {
  const running = machine("running");
  using end = machineEnd(running, id);
  await running.tell({ id, state: "stopped" });
  expect(end.signal.aborted).toBe(false);

  running.state = "failed";
  await running.tell({ id, state: "failed", reason: "QEMU crashed" });
  expect(end.signal.reason).toMatchObject({
    code: "guest_failed",
    message: expect.stringContaining("QEMU crashed"),
  });
});

test("a machine that had ended before anybody watched has ended", async () => {
  const gone = machine("stopped");
  using end = machineEnd(gone, id);
  await turn();
  expect(end.signal.reason).toMatchObject({ message: expect.stringContaining("it is stopped") });
});
