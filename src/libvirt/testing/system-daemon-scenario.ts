/**
 * Run as root in mount and process namespaces of its own (it ends as process 1 of them): starts the system daemon with
 * everything that libvirt writes in memory, uses it, and prints what it saw as JSON.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

import { connectLibvirt, startSystemDaemon } from "../index.ts";
import { tinyDomainXml } from "./tiny-domain.ts";

for (const folder of ["/run", "/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt"]) {
  execFileSync("mount", ["-t", "tmpfs", "none", folder]);
}
const absent = await connectLibvirt("qemu:///system").catch((error: unknown) => String(error));
const started = await startSystemDaemon();
const again = await startSystemDaemon();

const states: string[] = [];
// For root, the session is the system.
for (const uri of ["qemu:///system", "qemu:///session"]) {
  await using connection = await connectLibvirt(uri);
  const domain = await connection.domains.createXml(tinyDomainXml("tiny"), { paused: true });
  states.push((await connection.domains.state(domain)).state);
  await connection.domains.destroy(domain);
}
console.log(JSON.stringify({ absent, started, again, states, zombies: countZombies() }));

function countZombies(): number {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ")).length;
}
