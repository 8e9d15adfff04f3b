/** `qemu:///system`, where QEMU runs as a user of its own, used by an unprivileged member of the group libvirt. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { guestImage } from "../fixtures/guest-image.ts";
import type { TestHost } from "../fixtures/host.ts";
import { debianFiles, type Publisher, startPublisher } from "../fixtures/publisher.ts";
import { createSystemHost } from "../fixtures/system-host.ts";
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

test("doctor finds what it needs", async () => {
  const { stdout } = await host.heyvm("doctor", "--format", "json");
  const checks: unknown = JSON.parse(stdout);
  expect(JSON.stringify(checks)).toContain("qemu:///system");
});

const subject = (): Subject => ({ host, box: "sys" });

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

  mountSuite(subject);
  lifecycleSuite(subject);
});
