/**
 * ssh into a sandbox's guest, for comparison: heyvm itself gives a guest neither a network nor keys. A network card whose
 * only traffic is a port of 127.0.0.1 is plugged into the running machine, and an sshd is started there with the key of
 * this run. Needs the guest's image to have openssh-server, and this host ssh.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { type Cleanup, createCleanup } from "../src/daemon/cleanup.ts";
import { machineNames } from "../src/backends/libvirt/names.ts";
import { connectLibvirt, type DomainRef, type LibvirtConnection } from "../src/libvirt/index.ts";
import type { Sandbox } from "../src/sdk/index.ts";
import { run } from "./processes.ts";

export interface GuestSsh extends AsyncDisposable {
  /** Arguments that ssh and scp have in common: key, port, no questions, nothing of the user's configuration. */
  readonly options: readonly string[];
  readonly destination: string;
  /** Opens a master connection; with the arguments that it answers, ssh and scp go through it. */
  openMaster(): Promise<readonly string[]>;
}

const destination = "root@127.0.0.1";
const netdevId = "heyvm-bench";
const deviceId = "heyvm-bench-card";
const macAddress = "52:54:00:be:7c:01";
const plugTimeoutMs = 60_000;
const lookAgainMs = 250;

/** In the guest: waits for the card, gives it QEMU's address, and runs sshd until its end. */
const guestScript = `
modprobe virtio_net || exit
for attempt in $(seq 300); do
  card=$(grep -ls '${macAddress}' /sys/class/net/*/address | cut -d/ -f5)
  [ -n "$card" ] && break
  sleep 0.2
done
[ -n "$card" ] || { echo "the card did not appear" >&2; exit 1; }
ip link set "$card" up && ip address replace 10.0.2.15/24 dev "$card" || exit
ssh-keygen -A >/dev/null && mkdir -p /run/sshd && usermod -p '*' root || exit
exec /usr/sbin/sshd -D -e -o UsePAM=no -o MaxStartups=100 -o PermitRootLogin=prohibit-password \\
  -o AuthorizedKeysFile=/run/heyvm-bench.pub
`;

/** Disposal ends sshd and unplugs the card. */
export async function openGuestSsh(sandbox: Sandbox): Promise<GuestSsh> {
  const cleanup = createCleanup();
  try {
    const folder = await mkdtemp(join(tmpdir(), "hvb-"));
    cleanup.defer(() => rm(folder, { recursive: true, force: true }));
    const key = join(folder, "key");
    await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "heyvm-bench", "-f", key]);
    const port = await freePort();
    await plugCard(sandbox, port, cleanup);
    await sandbox.files.write("/run/heyvm-bench.pub", await readFile(`${key}.pub`, "utf8"), { mode: 0o600 });
    await startSshd(sandbox, cleanup);
    const options = clientOptions(key, port);
    await run(["ssh", ...options, destination, "true"]);
    return {
      options,
      destination,
      openMaster: () => startMaster(options, join(folder, "master"), cleanup),
      [Symbol.asyncDispose]: () => cleanup[Symbol.asyncDispose](),
    };
  } catch (error) {
    await cleanup[Symbol.asyncDispose]();
    throw error;
  }
}

function clientOptions(key: string, port: number): string[] {
  const settings = {
    Port: port,
    IdentitiesOnly: "yes",
    BatchMode: "yes",
    StrictHostKeyChecking: "no",
    UserKnownHostsFile: "/dev/null",
    LogLevel: "ERROR",
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  return ["-F", "/dev/null", "-i", key, ...flags];
}

async function startMaster(options: readonly string[], socket: string, cleanup: Cleanup): Promise<string[]> {
  const shared = [...options, "-o", `ControlPath=${socket}`];
  const master = spawn("ssh", [...shared, "-M", "-N", destination], { stdio: "ignore" });
  cleanup.defer(() => end(master));
  await until("the master connection answers", () =>
    run(["ssh", ...shared, "-O", "check", destination]).then(
      () => true,
      () => false,
    ),
  );
  return shared;
}

async function startSshd(sandbox: Sandbox, cleanup: Cleanup): Promise<void> {
  const sshd = await sandbox.spawn("sh", ["-c", guestScript], { stdin: false });
  cleanup.defer(async () => {
    sshd.kill("SIGTERM");
    await sshd.exit;
  });
  sshd.stdout.resume();
  let said = "";
  const listens = new Promise<boolean>((resolve) => {
    sshd.stderr.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-2000);
      if (said.includes("Server listening")) resolve(true);
    });
  });
  const ready = await Promise.race([listens, sshd.exit.then(() => false)]);
  if (!ready) throw new Error(`sshd did not start in the guest: ${said}`);
}

async function plugCard(sandbox: Sandbox, port: number, cleanup: Cleanup): Promise<void> {
  const libvirt = await connectLibvirt(sandbox.info.uri ?? "qemu:///session");
  cleanup.defer(() => libvirt.close());
  const domain = await libvirt.domains.lookupByName(machineNames(sandbox.id).domain);
  const monitor = (execute: string, values: Record<string, unknown>): Promise<unknown> =>
    libvirt.qemu.monitorCommand(domain, { execute, arguments: values });
  const bus = await freeRootPort(libvirt, domain);
  // `restrict` cuts the guest off from the host and its network; the forwarded port stays.
  await monitor("netdev_add", {
    type: "user",
    id: netdevId,
    restrict: true,
    hostfwd: [{ str: `tcp:127.0.0.1:${port}-:22` }],
  });
  cleanup.defer(async () => {
    await monitor("netdev_del", { id: netdevId });
  });
  await monitor("device_add", {
    driver: "virtio-net-pci",
    id: deviceId,
    netdev: netdevId,
    mac: macAddress,
    bus,
  });
  cleanup.defer(async () => {
    await monitor("device_del", { id: deviceId });
    // The guest lets go of it in its own time.
    await until("the card is unplugged", async () => {
      const ports = await queryPci(libvirt, domain);
      return !ports.some(({ children }) => children.includes(deviceId));
    });
  });
}

/** libvirt keeps one slot free for what is plugged in later. */
async function freeRootPort(libvirt: LibvirtConnection, domain: DomainRef): Promise<string> {
  const free = (await queryPci(libvirt, domain)).find(({ children }) => children.length === 0);
  if (free === undefined) throw new Error(`${domain.name} has no free PCI port`);
  return free.id;
}

interface Port {
  id: string;
  /** Ids of the devices behind it. */
  children: string[];
}

/** The PCI ports of a machine that a device can be plugged into. */
async function queryPci(libvirt: LibvirtConnection, domain: DomainRef): Promise<Port[]> {
  const buses = await libvirt.qemu.monitorCommand(domain, { execute: "query-pci" });
  return objects(buses)
    .flatMap((bus) => objects(bus["devices"]))
    .flatMap((device) => {
      const id = device["qdev_id"];
      const bridge = objects([device["pci_bridge"]])[0];
      if (typeof id !== "string" || bridge === undefined) return [];
      return [{ id, children: objects(bridge["devices"]).map((child) => String(child["qdev_id"])) }];
    });
}

function objects(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "object" && one !== null) : [];
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + plugTimeoutMs;
  while (!(await holds())) {
    if (performance.now() > deadline)
      throw new Error(`waited ${plugTimeoutMs / 1000} s in vain until ${what}`);
    await delay(lookAgainMs);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  await ended;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no free port");
  return address.port;
}
