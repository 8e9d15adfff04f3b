import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

import type { TestHost } from "../../fixtures/host.ts";
import { pressCtrlC } from "../../fixtures/press-ctrl-c.ts";
import { expectFailure, inGuest, soonInGuest, type Subject, succeed } from "./subject.ts";

/** A gigabyte is copied where no guest is emulated: see `src/api/files.test.ts`. */
const largeBytes = 192 * 1024 ** 2;
/** What a copy of any size may add to a process that copies it. */
const flatBytes = 64 * 1024 ** 2;

/** A copy that takes its time. */
export function largeFileSuite(subject: () => Subject): void {
  describe("cp", () => {
    test("copies 192 MiB up and down with equal checksums, in flat memory", async () => {
      const { host, box } = subject();
      const [up, down] = [join(host.paths.home, "up.bin"), join(host.paths.home, "down.bin")];
      await onHost(host, `head -c ${largeBytes} /dev/urandom > ${up}`);
      const before = await memory(subject());
      await succeed(host, "cp", up, `${box}:/root/big.bin`);
      const between = await memory(subject());
      await succeed(host, "cp", `${box}:/root/big.bin`, down);
      const after = await memory(subject());
      expect(await onHost(host, `cmp ${up} ${down} && stat -c %s ${down} && rm ${up} ${down}`)).toBe(
        `${largeBytes}\n`,
      );
      await inGuest(subject(), "rm /root/big.bin");
      for (const later of [between, after]) {
        expect(later.daemonBytes - before.daemonBytes).toBeLessThan(flatBytes);
        expect(later.agentBytes - before.agentBytes).toBeLessThan(flatBytes);
      }
    });
  });
}

/** Copies in and out of one sandbox. */
export function fileSuite(subject: () => Subject): void {
  describe("cp", () => {
    test("copies folders with modes and links, both ways", async () => {
      const { host, box } = subject();
      const { home } = host.paths;
      await onHost(
        host,
        `cd ${home} && mkdir -p tree/sub "tree/a b" && echo one > tree/sub/one && echo run > tree/run
        chmod 640 tree/sub/one && chmod 755 tree/run && ln -s sub/one tree/link && : > "tree/a b/empty"`,
      );
      await succeed(host, "cp", join(home, "tree"), `${box}:/root`);
      const listing = `find . -printf '%P %y %m %l\\n' | grep -v ' l ' | sort; readlink link; cat sub/one`;
      const there = await inGuest(subject(), `cd /root/tree && ${listing}`);
      await succeed(host, "cp", `${box}:/root/tree`, join(home, "back"));
      expect(there).toBe(await onHost(host, `cd ${home}/tree && ${listing}`));
      expect(await onHost(host, `cd ${home}/back && ${listing}`)).toBe(there);
      await onHost(host, `rm -r ${home}/tree ${home}/back`);
    });

    test("takes standard input and output", async () => {
      const { host, box } = subject();
      const put = await host.run(host.heyvmCommand("cp", "-", `${box}:/tmp/note`), { stdin: "hello\n" });
      expect(put).toMatchObject({ code: 0 });
      expect(await succeed(host, "cp", `${box}:/tmp/note`, "-")).toBe("hello\n");
    });

    test("says which side has no such file, and leaves no half of one", async () => {
      const { host, box } = subject();
      await expectFailure(host, ["cp", join(host.paths.home, "none"), `${box}:/tmp`], 3, "none");
      await expectFailure(host, ["cp", `${box}:/none`, host.paths.home], 3, "/none");
      await expectFailure(host, ["cp", "a", "b"], 2, "ID:PATH");
      await expectFailure(host, ["cp", "no-such-sandbox:/etc/hosts", host.paths.home], 3, "no-such-sandbox");
    });

    test("that gets a Ctrl-C leaves no half of a file on either side, and the old one whole", async () => {
      const { host, box } = subject();
      const here = join(host.paths.home, "here");
      // Larger than what is copied until the Ctrl-C comes.
      await onHost(host, `mkdir ${here}; cd ${here}; echo old > down; truncate -s 16G up`);
      await inGuest(subject(), "mkdir /root/there; cd /root/there; echo old > up; truncate -s 16G down");
      const up = ["cp", join(here, "up"), `${box}:/root/there/up`];
      expect(await pressCtrlC(host, () => inGuest(subject(), begun("/root/there")), ...up)).toMatchObject({
        code: 130,
        stdout: "",
      });
      // The guest hears of it a moment later.
      await soonInGuest(subject(), "! ls -A /root/there | grep '^[.]heyvm-'");
      expect(await inGuest(subject(), "cd /root/there; ls -A; cat up")).toBe("down\nup\nold\n");

      const down = ["cp", `${box}:/root/there/down`, join(here, "down")];
      expect(await pressCtrlC(host, () => onHost(host, begun(here)), ...down)).toMatchObject({
        code: 130,
        stdout: "",
      });
      expect(await onHost(host, `cd ${here}; ls -A; cat down`)).toBe("down\nup\nold\n");
      await soonInGuest(subject(), "! readlink /proc/$(pgrep -of heyvm/agent.py)/fd/* | grep there/down");
      await onHost(host, `rm -r ${here}`);
      await inGuest(subject(), "rm -r /root/there");
    });
  });
}

async function onHost(host: TestHost, script: string): Promise<string> {
  const { stdout, stderr, code } = await host.run(["sh", "-ec", script]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout;
}

/** A shell script that waits until a copy into this folder has begun. */
function begun(folder: string): string {
  return `until ls -A ${folder} | grep -q '^[.]heyvm-'; do sleep 0.05; done`;
}

/** Resident memory of the daemon and of the agent, at its highest so far. */
async function memory(subject: Subject): Promise<{ daemonBytes: number; agentBytes: number }> {
  const info = await readFile(join(subject.host.paths.data, "daemon.json"), "utf8");
  const daemon = await readFile(`/proc/${/"pid":(\d+)/.exec(info)?.[1]}/status`, "utf8");
  const agent = await inGuest(subject, "cat /proc/$(pgrep -of heyvm/agent.py)/status");
  return { daemonBytes: highest(daemon), agentBytes: highest(agent) };
}

function highest(status: string): number {
  const kibibytes = Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]);
  expect(kibibytes).toBeGreaterThan(0);
  return kibibytes * 1024;
}
