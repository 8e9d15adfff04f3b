/** A host whose disk has no room: for the image, for preparing a disk from it, for a sandbox. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";

import { guestImage } from "../fixtures/guest-image.ts";
import { createTestHost } from "../fixtures/host.ts";
import { debianFileName, debianFiles, startPublisher } from "../fixtures/publisher.ts";
import { canMount, mountSmallDisk } from "../fixtures/small-disk.ts";
import { expectFailure, succeed } from "./suites/subject.ts";

test("a full disk fails a download and a create with that reason, and leaves nothing of them", async (task) => {
  task.skip(!(await canMount()), "mounting a small disk takes root, or sudo without a password");
  await using publisher = await startPublisher({ files: await debianFiles(await guestImage()) });
  await using host = await createTestHost({ env: { HEYVM_MIRROR_DEBIAN: publisher.url } });
  const folder = join(host.paths.home, ".local/share/libvirt/images");
  await host.run(["mkdir", "-p", folder]);
  await using disk = await mountSmallDisk(folder, host.account, 100);
  await succeed(host, "backends");

  await expectFailure(host, ["pull", "debian:12"], 1, "no space left", "hint: ");
  expect((await readdir(folder)).filter((name) => name.endsWith(".qcow2"))).toEqual([]);

  // Room for the image, and next to none for what a first boot writes.
  const { size } = await stat(await guestImage());
  await disk.resize(Math.ceil(size / 1024 ** 2) + 4);
  await succeed(host, "pull", "debian:12");
  await host.leavesNothing(async () => {
    await expectFailure(host, ["create", "--image", "debian:12"], 1, "no space", "heyvm prune");
  });
  expect(await readdir(join(folder, "heyvm"))).toEqual([]);
  expect(await readdir(folder)).toContain(debianFileName);
});
