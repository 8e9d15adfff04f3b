import { describe, expect, test } from "vitest";

import { pressCtrlC } from "../../fixtures/press-ctrl-c.ts";
import { expectFailure, inGuest, type Subject, succeed } from "./subject.ts";

/** What happens to a sandbox as a whole; it has the mounts of `mountSuite`. Leaves it running. */
export function lifecycleSuite(subject: () => Subject): void {
  const status = async (): Promise<unknown> => {
    const { host, box } = subject();
    return JSON.parse(await succeed(host, "get", box, "--format", "json")).status;
  };

  describe("a sandbox", () => {
    test("that is paused holds still, keeps its processes, and goes on", async () => {
      const { host, box } = subject();
      await inGuest(subject(), "nohup sleep 3456 >/dev/null 2>&1 &");
      await succeed(host, "pause", box);
      expect(await status()).toBe("paused");
      await expectFailure(host, ["exec", box, "--", "true"], 125, "paused", `heyvm resume`);
      await succeed(host, "pause", box);
      await succeed(host, "resume", box);
      expect(await status()).toBe("running");
      expect(await inGuest(subject(), "pgrep -cf 'sleep [3]456'")).toBe("1\n");
      // Its clock stood still, and was set.
      const guestMs = Number(await inGuest(subject(), "date +%s%3N"));
      expect(Math.abs(guestMs - Date.now())).toBeLessThan(30_000);
    });

    let machineId: string;
    test("that is stopped can't run commands, and is listed only when all are asked for", async () => {
      const { host, box } = subject();
      machineId = await inGuest(subject(), "echo kept > /root/file; cat /etc/machine-id");
      await succeed(host, "stop", box);
      expect(await status()).toBe("stopped");
      await expectFailure(host, ["exec", box, "--", "true"], 125, "stopped", "heyvm start");
      expect(await succeed(host, "list")).not.toContain(box);
      expect(await succeed(host, "list", "--all")).toContain(box);
    });

    test("does not start while a link stands in the place of a folder that it has mounted", async () => {
      const { host, box } = subject();
      const data = `${host.paths.home}/data`;
      await host.run(["sh", "-ec", `mv ${data} ${data}.aside; ln -s /etc ${data}`]);
      await expectFailure(host, ["start", box], 1, `${data} cannot be mounted`, "leads to /etc now");
      await host.run(["sh", "-ec", `rm ${data}; mv ${data}.aside ${data}`]);
      expect(await status()).toBe("stopped");
    });

    test("whose start gets a Ctrl-C stays stopped", async () => {
      const { host, box } = subject();
      await host.leavesNothing(async () => {
        const { code, stderr } = await pressCtrlC(host, "Waiting for the guest", "start", box);
        expect({ code, stderr }).toEqual({ code: 130, stderr: expect.stringContaining("interrupted") });
        expect(await status()).toBe("stopped");
      });
    });

    test("that is started again has its files", async () => {
      const { host, box } = subject();
      await succeed(host, "start", box);
      expect(await status()).toBe("running");
      expect(await inGuest(subject(), "cat /root/file /etc/machine-id")).toBe(`kept\n${machineId}`);
    });

    test("keeps its name for itself", async () => {
      const { host, box } = subject();
      await expectFailure(host, ["create", "--image", "debian:12", "--name", box], 4, box, "--name");
    });

    test("stands on an image that can't be removed", async () => {
      const { host } = subject();
      await expectFailure(host, ["images", "rm", "debian:12", "--yes"], 4, "in use");
    });
  });
}
