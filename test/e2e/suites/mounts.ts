import { join } from "node:path";
import { describe, expect, test } from "vitest";

import type { TestHost } from "../../fixtures/host.ts";
import { expectFailure, inGuest, type Subject } from "./subject.ts";

/** Makes the folders that `mountArguments` mounts. */
export async function makeMountedFolders({ host }: Pick<Subject, "host">): Promise<string[]> {
  const [rw, ro] = [join(host.paths.home, "project"), join(host.paths.home, "data")];
  const made = await host.run([
    "sh",
    "-ec",
    `mkdir ${rw} ${ro}; echo "host's" > ${rw}/from-host; echo kept > ${ro}/data`,
  ]);
  expect(made).toMatchObject({ code: 0, stderr: "" });
  return ["--mount", `${rw}:/workspace/project`, "--mount", `${ro}:/mnt/data:ro`];
}

export async function removeMountedFolders(host: TestHost): Promise<void> {
  const { home } = host.paths;
  await host.run(["rm", "-rf", `${home}/project`, `${home}/data`, `${home}/secret`]);
}

/** A sandbox with two folders of the host: /workspace/project, and /mnt/data, which it may only read. */
export function mountSuite(subject: () => Subject): void {
  const onHost = async (...argv: string[]): Promise<string> => (await subject().host.run(argv)).stdout;

  describe("a mount", () => {
    test("is there when the sandbox is, and both sides see each other's files", async () => {
      const { home } = subject().host.paths;
      const script = `cat from-host; echo "guest's" > made; mkdir folder; ln made folder/hard; mv folder moved`;
      expect(await inGuest(subject(), `cd /workspace/project; ${script}`)).toBe("host's\n");
      expect(await onHost("cat", `${home}/project/made`, `${home}/project/moved/hard`)).toBe(
        "guest's\nguest's\n",
      );
      await subject().host.run(["sh", "-c", `echo later > ${home}/project/later`]);
      expect(await inGuest(subject(), "cat /workspace/project/later")).toBe("later\n");
    });

    test("can be mapped to be written, and shows what the host does afterwards", async () => {
      // What the guest's agent chooses for the kernel of Debian 12.
      const file = `${subject().host.paths.home}/project/mapped`;
      const store = `import mmap; f = open("mapped", "r+b"); m = mmap.mmap(f.fileno(), 4); m[:2] = b"by"; m.close()`;
      // Of the host's own, and open to QEMU's user: so either side may write it.
      await subject().host.run(["sh", "-ec", `printf aaaa > ${file}; chmod 666 ${file}`]);
      await inGuest(subject(), `cd /workspace/project; python3 -c '${store}'`);
      expect(await onHost("cat", file)).toBe("byaa");
      await subject().host.run(["sh", "-c", `printf "host's" > ${file}`]);
      expect(await inGuest(subject(), "cd /workspace/project; cat mapped; printf more >> mapped")).toBe(
        "host's",
      );
      expect(await onHost("cat", file)).toBe("host'smore");
    });

    test("that is read-only is so for the guest's root, too", async () => {
      const { home } = subject().host.paths;
      expect(await inGuest(subject(), "cat /mnt/data/data")).toBe("kept\n");
      const attack = `mount -o remount,rw /mnt/data; echo evil > /mnt/data/data; rm -rf /mnt/data/data; touch /mnt/data/x`;
      await inGuest(subject(), `(${attack}) 2>/dev/null; true`);
      expect(await onHost("sh", "-c", `ls -A ${home}/data; cat ${home}/data/data`)).toBe("data\nkept\n");
    });

    test("shows nothing beyond its folder", async () => {
      const { home } = subject().host.paths;
      await subject().host.run([
        "sh",
        "-c",
        `echo secret > ${home}/secret; ln -s ../secret ${home}/project/out`,
      ]);
      const script =
        "cd /workspace/project; cat out ../secret ../../secret 2>/dev/null; ln -s /etc/hostname in; cat in";
      expect(await inGuest(subject(), script)).toBe(`${subject().box}\n`);
    });

    test("does not lead a later sandbox through what the guest has put into it", async () => {
      const { host } = subject();
      const { home } = host.paths;
      await inGuest(subject(), "cd /workspace/project; mkdir -p below; ln -sfn /etc link");
      for (const name of ["below", "link"]) {
        const mount = `${home}/project/${name}:/mnt:ro`;
        const reason = `its way leads through ${home}/project`;
        await expectFailure(host, ["create", "--image", "debian:12", "--mount", mount], 1, reason);
      }
    });
  });
}

/**
 * An emulated clone keeps less translated code than a machine that boots, and so its first boot takes longer: 194 s where it
 * was shut down and started in 139 s. A machine whose neighbours are busy has taken over 300 s.
 */
const rebootTimeoutMs = 900_000;

/** For the sandbox of `mountSuite`, after it. What it takes is the guest's, whichever libvirt it runs under. */
export function mountRebootSuite(subject: () => Subject): void {
  describe("a mount", () => {
    test(
      "is there again when the guest has rebooted by itself, before any command runs",
      { timeout: rebootTimeoutMs + 60_000 },
      async () => {
        const { host, box } = subject();
        const bootId = "cat /proc/sys/kernel/random/boot_id";
        const before = await inGuest(subject(), bootId);
        await host.heyvm("exec", box, "--", "systemctl", "reboot");
        const script = `${bootId}; cat /workspace/project/from-host /mnt/data/data; true`;
        let first = "";
        const isUpAgain = async (): Promise<boolean> => {
          const { code, stdout } = await host.heyvm("exec", box, "--", "sh", "-c", script);
          first = stdout;
          // One of the time before, or while the guest goes down, may still run, or be cut.
          return code === 0 && !stdout.startsWith(before);
        };
        await expect.poll(isUpAgain, { timeout: rebootTimeoutMs }).toBe(true);
        expect(first).toMatch(/^[0-9a-f-]{36}\nhost's\nkept\n$/);
      },
    );
  });
}
