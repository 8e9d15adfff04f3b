/** Root on a machine without a service manager, where nobody has started libvirt: a container, a CI runner. */
import { expect, test } from "vitest";

import { createTestHost } from "../fixtures/host.ts";
import { endDaemon, succeed } from "./suites/subject.ts";

test("root's first command starts the system's libvirt and says so; the next ones find it", async (task) => {
  task.skip(process.getuid?.() !== 0, "only root may have a machine without libvirt, in a mount namespace");
  await using host = await createTestHost({
    account: "self",
    // Nobody's sockets, and whatever libvirt writes goes with the host.
    emptyFolders: ["/run", "/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt"],
  });
  const connection = async (): Promise<unknown> => {
    const { stdout } = await host.heyvm("doctor", "--format", "json");
    const { checks }: { checks: { id: string }[] } = JSON.parse(stdout);
    return checks.find(({ id }) => id === "libvirt.connection");
  };
  const started = /no libvirt was running: started \S*(libvirtd|virtqemud) and \S*virtlogd.* \(process \d+\)/;
  expect(await connection()).toMatchObject({ verdict: "ok", message: expect.stringMatching(started) });
  expect(await succeed(host, "backends")).toMatch(/^libvirt \(default\) +yes/m);

  await endDaemon(host, "TERM");
  const later = { verdict: "ok", message: expect.not.stringContaining("no libvirt was running") };
  expect(await connection()).toMatchObject(later);
});
