/**
 * The contract, kept by libvirt on `qemu:///session`. Root has no session, and libvirt needs a parent that reaps: so this
 * file runs itself once more, as an unprivileged user with folders of its own, and the inner run has the tests.
 */
import { once } from "node:events";
import { chmod, chown, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

import { createLibvirtBackend } from "../../src/backends/libvirt/index.ts";
import type { Image } from "../../src/images/image.ts";
import { guestImage } from "../fixtures/guest-image.ts";
import { testAccount } from "../fixtures/host/account.ts";
import { makeOwnFolder, runFolderVariable } from "../fixtures/host/own-folder.ts";
import { startProcessHost } from "../fixtures/host/process-host.ts";
import { sessionTraces } from "../fixtures/host/traces.ts";
import { rememberTraces } from "../fixtures/host/watched-hosts.ts";
import { guestImageFingerprint, placePreparedDisk } from "../fixtures/prepared-disk.ts";
import { backendContract, noticeMs } from "./backend-contract.ts";

const inner = process.env["HEYVM_CONTRACT_IMAGE"];
const bootTimeoutMs = 900_000;

if (inner === undefined) runInside();
else keepTheContract(inner);

function runInside(): void {
  test("libvirt on a session keeps the contract", { timeout: 4 * bootTimeoutMs }, async () => {
    const account = await testAccount([]);
    const image = await guestImage();
    const root = await makeOwnFolder("hvc-");
    try {
      // Of its own: what that user has in /tmp, other tests would take for theirs.
      const temporary = join(root, "tmp");
      await mkdir(temporary);
      await chmod(root, 0o700);
      for (const path of [root, temporary]) await chown(path, account.uid, account.gid);
      await placePreparedDisk(account, root, image);
      await using host = await startProcessHost(join(root, "host"), account.become);
      const env = {
        PATH: process.env["PATH"],
        HOME: root,
        XDG_RUNTIME_DIR: root,
        TMPDIR: temporary,
        HEYVM_CONTRACT_IMAGE: image,
        HEYVM_CONTRACT_FINGERPRINT: await guestImageFingerprint(),
        HEYVM_CONTRACT_ROOT: root,
        [runFolderVariable]: process.env[runFolderVariable],
      };
      const cwd = fileURLToPath(new URL("../..", import.meta.url));
      // The user may not write beside the sources, where vitest would bundle its configuration.
      const vitest = [
        "node_modules/.bin/vitest",
        "run",
        "--no-cache",
        "--configLoader",
        "runner",
        "--project",
        "contract",
      ];
      const run = host.spawn([process.execPath, ...vitest, fileURLToPath(import.meta.url)], { env, cwd });
      run.stdout?.pipe(process.stdout);
      run.stderr?.pipe(process.stderr);
      const [code] = await once(run, "exit");
      if (code !== 0) rememberTraces(basename(root), await sessionTraces(root, join(root, "state")));
      expect(code).toBe(0);
    } finally {
      await rm(root, { recursive: true });
    }
  });
}

function keepTheContract(imagePath: string): void {
  const root = process.env["HEYVM_CONTRACT_ROOT"] ?? "";
  neverAnswers(root, imagePath);
  backendContract("libvirt on qemu:///session", {
    abilities: { pause: true, reset: true },
    open: () => createLibvirtBackend({ uri: "qemu:///session", stateFolder: join(root, "state") }),
    openElsewhere: () =>
      createLibvirtBackend({ uri: "qemu:///session", stateFolder: join(root, "elsewhere") }),
    spec: machine(imagePath),
    bootTimeoutMs,
    // A prepared disk, complete, may stay.
    census: async () => (await census(root)).filter((name) => !name.startsWith("prepared-")),
  });
}

/** A disk that boots nothing: the image of a guest whose agent never answers. */
function neverAnswers(root: string, imagePath: string): void {
  test("a guest that never starts its agent fails the create, tells where its console's log is, and leaves nothing", async () => {
    const stateFolder = join(root, "state");
    const empty = join(root, "empty.raw");
    await writeFile(empty, Buffer.alloc(1024 * 1024));
    const backend = await createLibvirtBackend({
      uri: "qemu:///session",
      stateFolder,
      agentTimeoutMs: 3_000,
    });
    const signal = AbortSignal.timeout(bootTimeoutMs);
    try {
      const before = await census(root);
      const image = { ...debian(imagePath), path: empty, format: "raw" as const, fingerprint: "empty" };
      const spec = {
        ...machine(imagePath),
        image,
        virtualSizeBytes: 1024 * 1024,
        id: "sb-c0de0002",
        name: "x",
        mounts: [],
      };
      const error = await backend
        .create(spec, { signal, onStep: () => undefined })
        .catch((error: unknown) => error);
      expect(error).toMatchObject({ code: "guest_unresponsive", details: { log_path: expect.any(String) } });
      await expect.poll(async () => await census(root), { timeout: noticeMs }).toEqual(before);
      expect((await readdir(join(stateFolder, "logs"))).length).toBe(1);
    } finally {
      await backend.close();
    }
  });
}

function debian(path: string): Image {
  return {
    reference: "debian:12",
    path,
    format: "qcow2",
    virtualSizeBytes: 3 * 1024 ** 3,
    fingerprint: process.env["HEYVM_CONTRACT_FINGERPRINT"] ?? "",
    architecture: "x86_64",
  };
}

function machine(imagePath: string) {
  return {
    type: "shell" as const,
    image: debian(imagePath),
    cpus: 1,
    memoryBytes: 1024 ** 3,
    // Larger than the image: the guest has to grow its file system.
    diskBytes: 5 * 1024 ** 3,
    network: true,
  };
}

/** The pool's files, the domains' definitions, the running QEMUs' channels and the passts' sockets. */
async function census(root: string): Promise<string[]> {
  const definitions = join(root, ".config", "libvirt", "qemu");
  const folders = [
    join(root, ".local", "share", "libvirt", "images", "heyvm"),
    definitions,
    join(definitions, "channel", "target"),
    join(root, "heyvm"),
  ];
  // Folders that libvirt makes for itself when it starts are none of ours.
  return (await Promise.all(folders.map(names))).flat().filter((name) => /\.|-/.test(name));
}

async function names(folder: string): Promise<string[]> {
  return await readdir(folder).catch(() => []);
}
