/** `qemu:///system`, where QEMU runs as a user of its own, used by an unprivileged member of the group libvirt. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { guestImage } from "../fixtures/guest-image.ts";
import type { TestHost } from "../fixtures/host.ts";
import { debianFiles, type Publisher, startPublisher } from "../fixtures/publisher.ts";
import { createSystemHost } from "../fixtures/system-host.ts";
import { benchOptions, runBench } from "./suites/benches.ts";
import { commandSuite } from "./suites/commands.ts";
import { fileSuite } from "./suites/files.ts";
import { lifecycleSuite } from "./suites/lifecycle.ts";
import { makeMountedFolders, mountSuite, removeMountedFolders } from "./suites/mounts.ts";
import { expectFailure, type Subject, succeed } from "./suites/subject.ts";

let publisher: Publisher;
let host: TestHost;
beforeAll(async () => {
  publisher = await startPublisher({ files: await debianFiles(await guestImage()) });
  host = await createSystemHost({
    env: { HEYVM_MIRROR_DEBIAN: publisher.url },
    // What the guest makes in a mount belongs to QEMU's user, so that the account cannot remove it.
    permits: [/^home\/project\//],
  });
});
afterAll(async () => {
  await host[Symbol.asyncDispose]();
  await publisher[Symbol.asyncDispose]();
});

const subject = (): Subject => ({ host, box: "sys" });

/** Why machines are not cloned: QEMU could not use a template's files. */
const obstacle = /^(QEMU runs as another user|libvirt confines QEMU) .*qemu:\/\/\/system/;

test("doctor finds what it needs, and tells why machines boot", async () => {
  const { stdout } = await host.heyvm("doctor", "--format", "json");
  const { checks }: { checks: { id: string; verdict: string; message: string }[] } = JSON.parse(stdout);
  const verdictOf = (wanted: string) => checks.find(({ id }) => id === wanted);
  expect(verdictOf("libvirt.connection")).toMatchObject({
    verdict: "ok",
    message: expect.stringContaining("qemu:///system"),
  });
  const cloning = verdictOf("libvirt.cloning");
  expect(cloning).toMatchObject({ verdict: "warning" });
  expect(cloning?.message.replace(/^a new sandbox boots: /, "")).toMatch(obstacle);
});

/** Before all that needs the prepared disk, which it makes. */
test("bench/cold-path.ts prints its figures", benchOptions, async () => {
  expect(await runBench(host, "cold-path.ts", "debian:12", "1", "python")).toMatch(
    /^first of an image and type: makes the prepared disk .*\nprepared disk there .* 0\.\d\d$/m,
  );
});

describe("a sandbox under qemu:///system", () => {
  beforeAll(async () => {
    const mounts = await makeMountedFolders({ host });
    // A closed home is refused, with what opens it; a folder that is written to has to let QEMU's user write.
    await expectFailure(host, ["create", "--image", "debian:12", ...mounts], 1, "may not enter", "setfacl");
    await host.run(["sh", "-c", `chmod 711 ${host.paths.home}; chmod 777 ${host.paths.home}/project`]);
    await succeed(host, "create", "--image", "debian:12", "--type", "python", "--name", "sys", ...mounts);
  });
  afterAll(async () => {
    await succeed(host, "rm", "--yes", "sys");
    await removeMountedFolders(host);
    await succeed(host, "prune", "--everything");
  });

  test("has booted, and says why it is no clone", async () => {
    expect(JSON.parse(await succeed(host, "get", "sys", "--format", "json"))).toMatchObject({
      start_mode: "booted",
      start_reason: expect.stringMatching(obstacle),
    });
  });

  commandSuite(subject);
  fileSuite(subject);
  mountSuite(subject);
  lifecycleSuite(subject);
});
