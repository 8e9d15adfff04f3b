/** A host whose disk has no room: for the image, for preparing a disk from it, for a sandbox, for what that writes. */
import { once } from "node:events";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";

import { guestImage } from "../fixtures/guest-image.ts";
import { createTestHost } from "../fixtures/host.ts";
import { debianFileName, debianFiles, startPublisher } from "../fixtures/publisher.ts";
import { addPreparedImage, poolFolder } from "../fixtures/prepared-disk.ts";
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

test("a sandbox whose host's disk is full is held with that reason, and goes on when there is room", async (task) => {
  task.skip(!(await canMount()), "mounting a small disk takes root, or sudo without a password");
  await using host = await createTestHost();
  const folder = join(host.paths.home, poolFolder);
  await host.run(["mkdir", "-p", folder]);
  await using _disk = await mountSmallDisk(folder, host.account, 500);
  await addPreparedImage(host, "mine", "openrc");
  const begin = "echo $$ > /root/pid; exec sleep 9999";
  await succeed(host, "create", "--image", "mine", "--name", "box", "--start-command", begin);
  const filler = join(folder, "filler");
  await host.run(["sh", "-c", `head -c 1G /dev/zero > ${filler} || true`]);

  const write = "head -c 50M /dev/urandom > /root/data; sync";
  await expectFailure(
    host,
    ["exec", "box", "--", "sh", "-c", write],
    125,
    "no space is left",
    "heyvm resume",
  );
  const state = async () => JSON.parse(await succeed(host, "get", "box", "--format", "json"));
  // Half a gigabyte is too little to begin a template in.
  expect(await state()).toMatchObject({
    start_mode: "booted",
    start_reason: expect.stringMatching(/template may take 1\.5 GiB, and the disk of .* free$/),
  });
  await expect.poll(state).toMatchObject({
    status: "paused",
    error_message: expect.stringContaining("no space is left"),
  });

  await host.run(["rm", filler]);
  await succeed(host, "resume", "box");
  const look = "kill -0 $(cat /root/pid) && sync && touch /root/more && echo goes on";
  expect(await succeed(host, "exec", "box", "--", "sh", "-c", look)).toBe("goes on\n");
  expect(await state()).toMatchObject({ status: "running" });
  await succeed(host, "rm", "--yes", "box");
});

test("a disk that fills up while a template is made costs the sandbox no more than a boot, and one that is full fails a clone", async (task) => {
  task.skip(!(await canMount()), "mounting a small disk takes root, or sudo without a password");
  await using host = await createTestHost();
  // The pool is in it.
  const folder = join(host.paths.home, ".local/share/libvirt/images");
  await host.run(["mkdir", "-p", folder]);
  await using _disk = await mountSmallDisk(folder, host.account, 2_200);
  await addPreparedImage(host, "mine", "openrc");
  const filler = join(folder, "filler");
  /** All but so much. */
  const fill = async (leftMiB: number): Promise<void> => {
    const free = `$(df --output=avail --block-size=1M ${folder} | tail -1)`;
    await host.run(["sh", "-c", `head -c $((${free} - ${leftMiB} + 1))M /dev/zero > ${filler} || true`]);
  };
  const create = ["create", "--image", "mine", "--name", "box"];
  const state = async () => JSON.parse(await succeed(host, "get", "box", "--format", "json"));

  const child = host.spawn(host.heyvmCommand(...create));
  let shown = "";
  let filling: Promise<void> | undefined;
  child.stderr?.on("data", (chunk: Buffer) => {
    shown += chunk.toString();
    // Less than its boot takes of its memory, and enough for another boot.
    if (shown.includes("Making the template (once): booting")) filling ??= fill(150);
  });
  const [code] = await once(child, "close");
  await filling;
  expect({ code, shown: code === 0 ? "" : shown }).toEqual({ code: 0, shown: "" });
  expect(await state()).toMatchObject({
    start_mode: "booted",
    start_reason: expect.stringContaining("there is no template: "),
  });
  const templates = (await readdir(join(folder, "heyvm"))).filter((name) => name.startsWith("template-"));
  expect(templates).toEqual([]);
  await succeed(host, "rm", "--yes", "box");

  await host.run(["rm", filler]);
  await succeed(host, "templates", "build", "--image", "mine");
  await fill(0);
  await host.leavesNothing(async () => {
    await expectFailure(host, create, 1, "no space", "heyvm prune");
  });
  await host.run(["rm", filler]);
  await succeed(host, ...create);
  expect(await state()).toMatchObject({ start_mode: "cloned" });
  await succeed(host, "rm", "--yes", "box");
  await succeed(host, "templates", "prune");
});
