/** A guest whose init is OpenRC (Alpine's), from an image file of the user's own. */
import { afterAll, beforeAll, expect, test } from "vitest";

import { createTestHost, type TestHost } from "../fixtures/host.ts";
import { addPreparedImage } from "../fixtures/prepared-disk.ts";
import { expectFailure, inGuest, succeed } from "./suites/subject.ts";

let host: TestHost;
beforeAll(async () => {
  host = await createTestHost();
  await addPreparedImage(host, "mine", "openrc");
});
afterAll(async () => {
  await host[Symbol.asyncDispose]();
});

const create = ["create", "--image", "mine", "--name", "alp", "--start-command", "exec sleep 9999"];
const startMode = async () => JSON.parse(await succeed(host, "get", "alp", "--format", "json")).start_mode;

test("a guest with too little memory for its kernel says so", async () => {
  // Its boot loader loads the kernel, and that finds no room for its first file system.
  const small = ["create", "--image", "mine", "--memory", "96M"];
  await expectFailure(host, small, 1, "its kernel panicked", "deadlocked on memory", "--memory 1G");
});

test("an image with OpenRC runs the agent as a service, and starts it again when it dies, beside the start command", async () => {
  const subject = { host, box: "alp" };
  await succeed(host, ...create, "--no-clone");
  expect(await startMode()).toBe("booted");
  expect(await inGuest(subject, "cat /proc/1/comm; rc-service heyvm-agent status")).toContain("started");
  const server = await inGuest(subject, "pgrep -f 'sleep [9]999'");
  await host.heyvm("exec", "--no-stdin", "alp", "--", "sh", "-c", "kill -KILL $(pgrep -of heyvm/agent.py)");
  expect(await inGuest(subject, "echo again; pgrep -f 'sleep [9]999'")).toBe(`again\n${server}`);
  await succeed(host, "rm", "--yes", "alp");
});

test("a clone of an OpenRC guest is one, with its own name and its start command", async () => {
  const subject = { host, box: "alp" };
  await succeed(host, ...create);
  expect(await startMode()).toBe("cloned");
  expect(await inGuest(subject, "hostname; rc-service heyvm-agent status")).toMatch(/^alp\n.*started/);
  expect(await inGuest(subject, "pgrep -cf 'sleep [9]999'")).toBe("1\n");
  await succeed(host, "rm", "--yes", "alp");
  await succeed(host, "templates", "prune");
});
