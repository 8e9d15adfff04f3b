/** A guest whose init is OpenRC (Alpine's), from an image file of the user's own. */
import { expect, test } from "vitest";

import { createTestHost } from "../fixtures/host.ts";
import { addPreparedImage } from "../fixtures/prepared-disk.ts";
import { expectFailure, inGuest, succeed } from "./suites/subject.ts";

test("an image with OpenRC runs the agent as a service, and starts it again when it dies, beside the start command", async () => {
  await using host = await createTestHost();
  const subject = { host, box: "alp" };
  await addPreparedImage(host, "mine", "openrc");
  // Its boot loader loads the kernel, and that finds no room for its first file system.
  const small = ["create", "--image", "mine", "--memory", "96M"];
  await expectFailure(host, small, 1, "its kernel panicked", "deadlocked on memory", "--memory 1G");
  const create = ["create", "--image", "mine", "--name", "alp", "--start-command", "exec sleep 9999"];
  await succeed(host, ...create, "--no-clone");
  const mode = async () => JSON.parse(await succeed(host, "get", "alp", "--format", "json")).start_mode;
  expect(await mode()).toBe("booted");
  expect(await inGuest(subject, "cat /proc/1/comm; rc-service heyvm-agent status")).toContain("started");
  const server = await inGuest(subject, "pgrep -f 'sleep [9]999'");
  await host.heyvm("exec", "--no-stdin", "alp", "--", "sh", "-c", "kill -KILL $(pgrep -of heyvm/agent.py)");
  expect(await inGuest(subject, "echo again; pgrep -f 'sleep [9]999'")).toBe(`again\n${server}`);
  await succeed(host, "rm", "--yes", "alp");

  await succeed(host, ...create);
  expect(await mode()).toBe("cloned");
  expect(await inGuest(subject, "hostname; cat /proc/1/comm; rc-service heyvm-agent status")).toMatch(
    /^alp\ninit\n.*started/,
  );
  expect(await inGuest(subject, "pgrep -cf 'sleep [9]999'")).toBe("1\n");
  await succeed(host, "rm", "--yes", "alp");
  await succeed(host, "templates", "prune");
});
