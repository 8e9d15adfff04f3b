/** What a sandbox's machine takes of this host's memory; here, the machine is a process of this host. */
import { expect, test } from "vitest";

import { startDaemon } from "../daemon/testing/daemon-of-test.ts";

test("one sandbox's memory is told as long as its machine is up, and a list looks at none", async () => {
  const api = await startDaemon();
  await api.call("POST", "/sandboxes", { name: "box" });
  const hostMemory = async () => (await api.call("GET", "/sandboxes/box?stats=true")).json.host_memory;
  const some = { private: expect.any(Number), proportional: expect.any(Number) };

  const running = await hostMemory();
  expect(running).toEqual(some);
  expect(running.private).toBeGreaterThan(0);
  expect(running.proportional).toBeGreaterThanOrEqual(running.private);
  expect((await api.call("GET", "/sandboxes/box")).json).toMatchObject({ host_memory: null });
  expect((await api.call("GET", "/sandboxes")).json).toMatchObject([{ host_memory: null }]);

  // A guest that is held cannot be asked, but its memory is there.
  expect((await api.call("POST", "/sandboxes/box/pause")).json).toMatchObject({ host_memory: null });
  expect(await hostMemory()).toEqual(some);
  await api.call("POST", "/sandboxes/box/stop", { grace_seconds: 0 });
  expect(await hostMemory()).toBeNull();
});
