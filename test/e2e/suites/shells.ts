import { afterAll, beforeAll, describe, expect, test } from "vitest";

import type { TestHost } from "../../fixtures/host.ts";
import { endDaemon, inGuest, succeed } from "./subject.ts";

/** Machines that are launched ahead. A template of the python type is there. */
export function shellSuite(host: () => TestHost): void {
  /** With a daemon that launches one machine ahead, if it has to be started. */
  const create = async (name: string, ...args: string[]): Promise<void> => {
    const kind = ["--image", "debian:12", "--type", "python"];
    const command = host().heyvmCommand("create", ...kind, "--name", name, ...args);
    const { code, stderr } = await host().run(command, { env: { HEYVM_TEMPLATES_SHELLS: "1" } });
    expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
  };
  const virsh = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await host().run(["virsh", "--connect", "qemu:///session", ...args]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return stdout.trim();
  };
  const paused = async () => (await virsh("list", "--state-paused", "--name")).split("\n").filter(Boolean);
  const waiting = async (count: number) => {
    await expect.poll(paused).toHaveLength(count);
    return paused();
  };
  const infoOf = async (box: string) => JSON.parse(await succeed(host(), "get", box, "--format", "json"));
  describe("a machine that is launched ahead", () => {
    beforeAll(async () => {
      await endDaemon(host(), "TERM");
      await create("first");
    });
    afterAll(async () => {
      await succeed(host(), "rm", "--yes", "first");
      await endDaemon(host(), "TERM");
      // What follows expects a daemon that launches nothing ahead.
      await succeed(host(), "backends");
    });

    test("becomes the next sandbox of its kind, with an identity and a definition of its own", async () => {
      const [shell] = await waiting(1);
      await create("mounted", "--mount", `${host().paths.home}:/mnt/home:ro`);
      expect(await paused(), "one that has a mount needs another machine").toEqual([shell]);
      await succeed(host(), "rm", "--yes", "mounted");
      await create("second");
      const { id, start_mode } = await infoOf("second");
      expect({ domain: `heyvm-${id}`, start_mode }).toEqual({ domain: shell, start_mode: "cloned" });
      const identities = ["first", "second"].map(async (box) => {
        return inGuest(
          { host: host(), box },
          "hostname; cat /etc/machine-id; head -c 16 /dev/urandom | od -tx1",
        );
      });
      const [one, two] = (await Promise.all(identities)).map((text) => text.split("\n").slice(0, 3));
      expect(one?.filter((line, index) => line === two?.[index])).toEqual([]);
      expect(await virsh("list", "--title")).toContain("second (debian:12)");
      await succeed(host(), "kill", "second");
      expect(await virsh("domstate", `heyvm-${id}`)).toBe("shut off");
      expect(await virsh("dumpxml", "--inactive", `heyvm-${id}`)).not.toContain("-incoming");
      await succeed(host(), "rm", "--yes", "second");
    });

    test("goes with its daemon, also when that is killed, and nothing else does", async () => {
      await waiting(1);
      await endDaemon(host(), "KILL");
      const [orphan] = await waiting(1);
      await create("third");
      expect(await paused()).not.toContain(orphan);
      expect(await inGuest({ host: host(), box: "first" }, "echo there")).toBe("there\n");
      await succeed(host(), "rm", "--yes", "third");
      await waiting(1);
      await endDaemon(host(), "TERM");
      expect(await paused()).toEqual([]);
    });
  });
}
