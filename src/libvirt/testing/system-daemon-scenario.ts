/**
 * Run as root in mount and process namespaces of its own (it ends as process 1 of them): starts the system daemon with
 * everything that libvirt writes in memory, uses it, ends it, and prints what it saw as JSON.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

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
const zombies = countZombies();
const programs = started.map(({ program }) => basename(program));
for (const { pid } of started.slice(0, 1)) process.kill(pid, "SIGTERM");
const deadlineMs = Date.now() + 60_000;
let left = programs;
while (left.length > 0 && Date.now() < deadlineMs) {
  await delay(20);
  left = running().filter((name) => programs.includes(name));
}
console.log(JSON.stringify({ absent, started, again, states, zombies, left }));

function running(): string[] {
  return processIds().flatMap((pid) => {
    try {
      return [readFileSync(`/proc/${pid}/comm`, "utf8").trim()];
    } catch {
      return []; // it has just ended
    }
  });
}

function countZombies(): number {
  return processIds().filter((pid) => readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ")).length;
}

function processIds(): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name));
}
