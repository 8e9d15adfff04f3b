import { once } from "node:events";
import { describe, expect, test } from "vitest";

import type { TestHost } from "../../fixtures/host.ts";
import { endDaemon, expectFailure, inGuest, otherStateFolder, succeed } from "./subject.ts";

const create = (...args: string[]) => ["create", "--image", "debian:12", ...args];

/** Clones of the template that the first sandbox has made. */
export function cloneSuite(host: () => TestHost): void {
  const pool = () => `${host().paths.home}/.local/share/libvirt/images/heyvm`;
  const onHost = async (script: string): Promise<string> => {
    const { code, stdout, stderr } = await host().run(["sh", "-ec", script]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return stdout;
  };
  const checksums = () => onHost(`cd ${pool()}; sha256sum template-*`);
  const memoryFiles = async () => (await onHost(`ls ${pool()} | grep -E '^template-.*ram$' || true`)).trim();
  /** Machines that were booted to be frozen, or prepared, so far. */
  const boots = async () => Number(await onHost("ls ~/.cache/libvirt/qemu/log | grep -c preparing || true"));
  const infoOf = async (box: string) => JSON.parse(await succeed(host(), "get", box, "--format", "json"));
  const startOf = async (box: string): Promise<unknown> => (await infoOf(box)).start_mode;
  const idOf = async (box: string): Promise<string> => (await infoOf(box)).id;

  /** A create whose daemon is killed as soon as these words are shown: the next daemon leaves nothing of it. */
  const killedAt = async (words: string): Promise<void> => {
    // It would be ready before the daemon is dead.
    const killed = create("--type", "python", "--name", "killed", "--setup-hook", "sleep 60");
    await host().leavesNothing(async () => {
      const child = host().spawn(host().heyvmCommand(...killed));
      let shown = "";
      let end: Promise<void> | undefined;
      child.stderr?.on("data", (chunk: Buffer) => {
        shown += chunk.toString();
        if (shown.includes(words)) end ??= endDaemon(host(), "KILL");
      });
      const [code] = await once(child, "close");
      await end;
      expect({ code, shown }).toMatchObject({ shown: expect.stringContaining(words) });
      expect(code).not.toBe(0);
      expect(await succeed(host(), "list", "--all", "--format", "json")).toBe("[]\n");
    });
  };

  const hasSize = async (box: string, cpus: number, memoryMiB: number): Promise<void> => {
    const size = "nproc; awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo";
    const [seenCpus, seenMiB] = (await inGuest({ host: host(), box }, size)).split("\n").map(Number);
    expect(seenCpus).toBe(cpus);
    // The kernel keeps something for itself.
    expect(seenMiB).toBeGreaterThan(memoryMiB - 160);
    expect(seenMiB).toBeLessThan(memoryMiB);
  };

  describe("two clones", () => {
    test("are two machines, and what they write stays their own", async () => {
      const before = await checksums();
      const identities: Record<string, string>[] = [];
      const written = new Map<string, string>();
      const sumsIn = (box: string) => inGuest({ host: host(), box }, "sha256sum /root/data /dev/shm/data");
      for (const box of ["one", "two"]) {
        await succeed(host(), ...create("--type", "python", "--name", box, "--needs-network"));
        const { start_mode, host_memory } = await infoOf(box);
        expect(start_mode).toBe("cloned");
        // Most of what it has is its template's.
        expect(host_memory.private).toBeGreaterThan(10 * 1024 ** 2);
        expect(host_memory.private).toBeLessThan(200 * 1024 ** 2);
        const subject = { host: host(), box };
        const askedMs = Date.now();
        const guestMs = Number(await inGuest(subject, "date +%s%3N"));
        // The template's own clock is minutes behind.
        expect(guestMs).toBeGreaterThan(askedMs - 20_000);
        expect(guestMs).toBeLessThan(Date.now() + 20_000);
        identities.push({
          hostname: await inGuest(subject, "hostname; cat /etc/hostname"),
          machineId: await inGuest(subject, "cat /etc/machine-id"),
          bootId: await inGuest(subject, "cat /proc/sys/kernel/random/boot_id"),
          random: await inGuest(subject, "head -c 16 /dev/urandom | od -An -tx1"),
          uuid: await inGuest(subject, "cat /proc/sys/kernel/random/uuid"),
          address: await inGuest(subject, "cat /sys/class/net/e*/address"),
          machine: await onHost(`virsh --connect qemu:///session domuuid heyvm-${await idOf(box)}`),
          hostKey: await inGuest(
            subject,
            "until [ -s /etc/ssh/ssh_host_ed25519_key.pub ]; do sleep 0.2; done; cut -d' ' -f2 /etc/ssh/ssh_host_*.pub",
          ),
        });
        await inGuest(
          subject,
          "echo mine > /root/mine; head -c 30M /dev/urandom > /root/data; sync; head -c 100M /dev/urandom > /dev/shm/data",
        );
        written.set(box, await sumsIn(box));
      }
      const [one, two] = identities;
      const shared = Object.keys(one ?? {}).filter((key) => two?.[key] === one?.[key]);
      expect({ shared, known: Object.keys(one ?? {}).length }).toEqual({ shared: [], known: 8 });
      expect(new Set(written.values()).size).toBe(2);
      for (const [box, sums] of written) expect(await sumsIn(box)).toBe(sums);
      const third = create("--type", "python", "--name", "three");
      await succeed(host(), ...third);
      expect(
        await inGuest({ host: host(), box: "three" }, "ls -A /root /dev/shm | grep -c mine || true"),
      ).toBe("0\n");
      expect(await checksums()).toBe(before);
      await succeed(host(), "rm", "--yes", "one", "two", "three");
    });
  });

  describe("a daemon that is killed while it makes a clone leaves nothing, and the next one makes it", () => {
    test.each(["Looking for image", "Cloning", "Cloning the machine  ", "Setting up"])(
      "%s",
      async (words) => {
        await killedAt(words);
        await succeed(host(), ...create("--type", "python", "--name", "next"));
        expect(await startOf("next")).toBe("cloned");
        await succeed(host(), "rm", "--yes", "next");
      },
    );
  });

  describe("a template that somebody has changed", () => {
    test("is noticed before it is used; a daemon that is killed while it makes the next one leaves nothing", async () => {
      await onHost(
        `printf x | dd conv=notrunc status=none bs=1 seek=5000 of=${pool()}/${await memoryFiles()}`,
      );
      for (const step of ["Making the template (once): booting", "freezing"]) {
        await killedAt(step);
        expect(await memoryFiles()).toBe("");
      }
    });

    test("is made again, once, also when twenty want it at once, and another daemon does", async () => {
      await using other = await otherStateFolder(host());
      const earlier = await boots();
      const run = ["run", "--image", "debian:12", "--type", "python", "--", "true"];
      const [built, ...made] = await Promise.all([
        other.heyvm("templates", "build", "--image", "debian:12", "--type", "python"),
        host().heyvm(...create("--type", "python", "--name", "again")),
        ...Array.from({ length: 19 }, () => host().heyvm(...run)),
      ]);
      for (const { code, stderr } of [built, ...made]) {
        expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
      }
      expect(built.stdout).toMatch(/^[0-9a-f]{16}\n$/);
      expect((await memoryFiles()).split("\n")).toHaveLength(1);
      expect(await boots()).toBe(earlier + 1);
    });

    test("is listed, and stays as long as a sandbox stands on it, with its image", async () => {
      expect(await startOf("again")).toBe("cloned");
      const [template, ...others] = JSON.parse(
        await succeed(host(), "templates", "list", "--format", "json"),
      );
      expect(others).toEqual([]);
      expect(template).toMatchObject({ image: "debian:12", sandbox_type: "python", cpus: 1, in_use: true });
      const refused = await host().heyvm("templates", "rm", "--yes", template.key.slice(0, 6));
      expect(refused).toMatchObject({ code: 4, stderr: expect.stringContaining("is in use by a sandbox") });
      expect(await succeed(host(), "templates", "prune")).toBe("");
      await expectFailure(host(), ["images", "rm", "--yes", "debian:12"], 4, "in use");
      await succeed(host(), "prune", "--everything");
      // More than the template's memory has: it comes from its disk.
      const read = "find /usr/lib /usr/share -xdev -type f | head -2000 | xargs cat | wc -c";
      expect(Number(await inGuest({ host: host(), box: "again" }, read))).toBeGreaterThan(1_000_000);
      await succeed(host(), "rm", "--yes", "again");
    });
  });

  test("the first larger sandbox boots; those of all sizes after it grow out of the template that is made meanwhile", async () => {
    await succeed(host(), ...create("--type", "python", "--name", "first", "--cpus", "2"));
    const { start_mode, start_reason } = JSON.parse(
      await succeed(host(), "get", "first", "--format", "json"),
    );
    expect({ start_mode, start_reason }).toEqual({
      start_mode: "booted",
      start_reason: "the template of larger sandboxes is being made",
    });
    await hasSize("first", 2, 1024);
    await succeed(host(), "rm", "--yes", "first");
    await succeed(host(), ...create("--type", "python", "--name", "two-cpus", "--cpus", "2"));
    expect(await startOf("two-cpus")).toBe("cloned");
    await hasSize("two-cpus", 2, 1024);

    await onHost("mkdir ~/given; echo given > ~/given/file");
    const size = ["--cpus", "3", "--memory", "1536M", "--disk", "5G"];
    const more = ["--needs-network", "--mount", `${host().paths.home}/given:/mnt/given`];
    await succeed(host(), ...create("--type", "python", "--name", "large", ...size, ...more));
    expect(await startOf("large")).toBe("cloned");
    const large = { host: host(), box: "large" };
    const isWhole = async (): Promise<void> => {
      await hasSize("large", 3, 1536);
      expect(Number(await inGuest(large, "df -m --output=size / | tail -1"))).toBeGreaterThan(4500);
      expect(await inGuest(large, "cat /mnt/given/file; ls /sys/class/net | grep -vc '^lo$'")).toBe(
        "given\n1\n",
      );
    };
    await isWhole();
    const used = "python3 -c 'print(len(bytearray(b\"x\") * (1100 << 20)))'";
    expect(await inGuest(large, used)).toBe(`${1100 * 1024 ** 2}\n`);
    await succeed(host(), "pause", "large");
    await succeed(host(), "resume", "large");
    await isWhole();
    await succeed(host(), "stop", "large");
    await succeed(host(), "start", "large");
    await isWhole();
    const templates = JSON.parse(await succeed(host(), "templates", "list", "--format", "json"));
    expect(templates.filter(({ grows_to }: { grows_to?: unknown }) => grows_to !== undefined)).toHaveLength(
      1,
    );
    await succeed(host(), "rm", "--yes", "two-cpus", "large");
    await onHost("rm -r ~/given");
  });
}
