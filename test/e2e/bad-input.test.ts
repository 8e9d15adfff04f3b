/** What a user can get wrong before there is any machine: each has its reason, its remedy and its exit code. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { guestImage } from "../fixtures/guest-image.ts";
import { createTestHost, type TestHost } from "../fixtures/host.ts";
import { expectFailure, succeed } from "./suites/subject.ts";

let host: TestHost;
let image: string;
let home: string;
beforeAll(async () => {
  image = await guestImage();
  // Nothing is downloaded here: whoever tries is told at once.
  host = await createTestHost({
    env: { HEYVM_MIRROR_DEBIAN: "http://127.0.0.1:1", HEYVM_BOOT_TIMEOUT_SECONDS: "5" },
  });
  home = host.paths.home;
  await succeed(host, "backends");
});
afterAll(async () => {
  await host[Symbol.asyncDispose]();
});

/** Fails to create a sandbox, and leaves nothing. */
async function expectNoSandbox(args: string[], code: number, ...words: string[]): Promise<void> {
  await host.leavesNothing(async () => {
    await expectFailure(host, ["create", "--image", image, ...args], code, "error: ", ...words);
  });
}

describe("create refuses", () => {
  const cases: [what: string, args: string[], code: number, ...words: string[]][] = [
    ["an unknown image", ["--image", "debain:12"], 3, "debain:12", "debian:12", "heyvm images supported"],
    ["an image file that is missing", ["--image", "/nowhere/x.qcow2"], 3, "/nowhere/x.qcow2"],
    ["an unknown backend", ["--backend-type", "vmware"], 2, "vmware", "libvirt", "--backend-type"],
    ["a backend that cannot run here", ["--backend-type", "microsandbox"], 5, "can run here: libvirt"],
    ["an unknown kind of URI", ["--uri", "xen:///system"], 2, "xen", "qemu:///session"],
    ["a URI of no libvirt daemon", ["--uri", "qemu:///elsewhere"], 2, "/session or /system"],
    ["a daemon that cannot be reached", ["--uri", "qemu+tcp://127.0.0.1:1/system"], 5, "127.0.0.1:1"],
    ["an unknown type", ["--type", "ruby"], 2, "ruby", "python"],
    ["a mount of a missing folder", ["--mount", "/nowhere:/mnt"], 2, "/nowhere", "mkdir -p /nowhere"],
    ["a mount of /", ["--mount", "/:/mnt"], 2, "whole host"],
    ["a mount over /", ["--mount", "/tmp:/"], 2, "over /"],
    ["a mount without a target", ["--mount", "/tmp"], 2, "HOST:GUEST"],
    ["a mount at a relative path", ["--mount", "/tmp:mnt"], 2, "absolute"],
    ["1 byte of memory", ["--memory", "1"], 2, "64 MiB"],
    ["negative memory", ["--memory", "-1"], 2, "-1", "512M"],
    ["10 TB of memory", ["--memory", "10T"], 2, "this host"],
    ["memory that is no size", ["--memory", "plenty"], 2, "plenty", "512M"],
    ["no CPUs", ["--cpus", "0"], 2, "cpus is 0"],
    ["a thousand CPUs", ["--cpus", "1000"], 2, "cpus is 1000"],
    ["a disk smaller than the image", ["--disk", "1G"], 2, "smaller", "--disk"],
    ["an empty name", ["--name", ""], 2, "empty"],
    ["a name that is a path", ["--name", "../up"], 2, '".."'],
    ["a name with quotes", ["--name", `a"b'c`], 2, "letters"],
    ["a name with a line's end", ["--name", "a\nb"], 2, String.raw`"a\nb"`],
    ["a name that is XML", ["--name", "<name>x</name>"], 2, "letters"],
    ["a variable without a name", ["--env", "=x"], 2, "KEY=VALUE"],
    ["a time to live in the past", ["--ttl", "-5"], 2, "duration"],
    ["a port beyond the last", ["--open-port", "70000"], 2, "70000"],
    ["an unknown option", ["--nmae", "x"], 2, "--name"],
  ];
  test.each(cases)("%s", async (_what, args, code, ...words) => {
    await expectNoSandbox(args, code, ...words);
  });

  test("a mount that the guest could replace by a link, and one that is such a link", async () => {
    await host.run(["sh", "-c", "mkdir -p ~/p/data && ln -s /etc ~/p/link"]);
    for (const name of ["data", "link"]) {
      const mounts = ["--mount", `${home}/p:/mnt/p`, "--mount", `${home}/p/${name}:/mnt/${name}:ro`];
      await expectNoSandbox(
        mounts,
        1,
        `cannot mount ${home}/p/${name}`,
        `its way leads through ${home}/p, where this sandbox may put links`,
      );
    }
    await host.run(["rm", "-r", `${home}/p`]);
  });

  test("a mount of what the user may not read", async () => {
    await host.run(["sh", "-ec", `mkdir ${home}/closed; chmod 0 ${home}/closed`]);
    await expectNoSandbox(["--mount", `${home}/closed:/mnt`], 1, "may not read");
    await host.run(["rmdir", `${home}/closed`]);
  });

  test("files that are no images, with the reason", async () => {
    const files: [name: string, content: Buffer, reason: string][] = [
      ["empty.qcow2", Buffer.alloc(0), "empty"],
      ["page.qcow2", Buffer.from("<!doctype html><title>Not found</title>"), "web page"],
      ["zero.img", Buffer.alloc(1024 ** 2), "neither qcow2 nor"],
    ];
    for (const [name, content, reason] of files) {
      await writeFile(join(home, name), content, { mode: 0o644 });
      await expectNoSandbox(["--image", join(home, name)], 1, name, reason);
    }
    const cut = join(home, "cut.qcow2");
    await host.run(["sh", "-ec", `head -c 1000000 '${image}' > ${cut}`]);
    await expectNoSandbox(["--image", cut], 1, "truncated");
    await host.run(["sh", "-c", `rm ${home}/*.qcow2 ${home}/*.img`]);
  });
});

test("a guest that never starts its agent is given up, and what it printed is kept", async () => {
  const blank = join(home, "blank.qcow2");
  await host.run(["qemu-img", "create", "-q", "-f", "qcow2", blank, "1G"]);
  await host.leavesNothing(async () => {
    const words = ["did not answer within 5 s", "console's log is", "cloud-init"];
    await expectFailure(host, ["create", "--image", blank], 124, ...words);
  });
  await host.run(["rm", blank]);
});

test("verbs that are missing, misspelt or incomplete are usage errors", async () => {
  await expectFailure(host, ["crate"], 2, "crate", "create");
  await expectFailure(host, ["exec"], 2, "heyvm exec --help");
  await expectFailure(host, ["exec", "box"], 2, "command");
  await expectFailure(host, ["list", "--format", "xml"], 2, "text, json");
  await expectFailure(host, ["rm", "nobody", "--yes"], 3, "nobody", "heyvm list --all");
});

test("an error is a document for programs, on request", async () => {
  const { stderr, stdout, code } = await host.heyvm("get", "nobody", "--format", "json");
  expect({ code, stdout }).toEqual({ code: 3, stdout: "" });
  expect(JSON.parse(stderr)).toMatchObject({ code: "sandbox_not_found", hint: "heyvm list --all" });
});
