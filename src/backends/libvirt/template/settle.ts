/** Waits until a guest has come to rest: what is frozen in the middle of its work goes on with it in every clone. */
import { randomBytes, randomUUID } from "node:crypto";

import type { AgentSession, GuestIdentity } from "../../../agent/types.ts";
import { AbortedError, HeyvmError } from "../../../errors/index.ts";
import type { Accelerator } from "../domain/domain-xml.ts";
import type { Domains } from "../host.ts";
import { runInGuest } from "../preparation/guest-command.ts";

/** The guest never came to rest. */
export class GuestRestlessError extends HeyvmError {
  constructor(what: string, afterMs: number) {
    super("guest_failed", `${what}: the guest did not come to rest within ${afterMs / 1000} s`, {
      hint: "its sandboxes boot instead; look for a service of the image that never idles",
    });
  }
}

/** Waits for the end of the boot, under either init system. */
const bootEndScript = `
if [ -d /run/systemd/system ]; then
  systemctl is-system-running --wait > /dev/null || true
elif command -v rc-status > /dev/null; then
  tries=300
  while [ $tries -gt 0 ] && rc-status --all 2> /dev/null | grep -q starting; do tries=$((tries - 1)); sleep 1; done
fi
`;

/**
 * Services that leave by themselves when nobody has asked them anything for half a minute. What is left of that half minute
 * would pass in every clone, and each leave would cost it a fifth of a second of CPU time and two megabytes that are its own.
 */
const idleLeaversScript = `
if [ -d /run/systemd/system ]; then
  for service in systemd-fsckd systemd-hostnamed systemd-localed systemd-timedated; do
    systemctl stop $service.service 2> /dev/null || true
  done
fi
`;

/** Should the image's own ssh server have made keys after all, every clone would have them. */
const keylessScript = `
for key in /etc/ssh/ssh_host_*_key; do
  [ -e "$key" ] || continue
  for server in ssh sshd; do
    if [ -d /run/systemd/system ]; then systemctl stop $server 2> /dev/null || true
    elif [ -e /etc/init.d/$server ]; then rc-service --quiet $server stop || true
    fi
  done
  rm -f /etc/ssh/ssh_host_*
  break
done
`;

/**
 * QEMU translates code by its address, so that with random addresses every process is translated anew: 1 to 3 MB of code a
 * command, until the cache is full and all of it is lost. Of the running kernel only: who boots the disk has it as the image
 * has it.
 */
const fixedAddressesScript = `
[ ! -w /proc/sys/kernel/randomize_va_space ] || echo 0 > /proc/sys/kernel/randomize_va_space
`;

/** Gives back what a clone would only carry along. */
const leanScript = `
sync
if command -v fstrim > /dev/null; then fstrim / || true; fi
sync
echo 3 > /proc/sys/vm/drop_caches
`;

/**
 * What a clone's first command needs is read again, once for all of them: a read from the disk costs an emulated guest
 * tens of milliseconds, and memory that is the clone's own.
 */
const rehearsalScript = `
mkdir -p /workspace
for file in /etc/os-release /etc/passwd /etc/group /etc/hosts /etc/hostname /etc/machine-id /etc/profile; do
  [ -e $file ] && cat $file
done
for program in true echo ls uname env python3 node; do
  case $program in
    python3) $program -c 'import json, subprocess' ;;
    node) $program -e 0 ;;
    ls) $program /etc/ssh /workspace /run ;;
    *) command env $program ;;
  esac
done
[ -e /usr/sbin/sshd ]
bash -c true
true
`;

const bootEndTimeoutMs = 600_000;
const restTimeoutMs = 180_000;
const windowMs = 1_000;
/** Share of a CPU that a resting guest may use. Emulated timers alone take one or two per cent. */
const restingShare = 0.05;
const restingWindows = 3;

/** Part of a template's key. */
export const freezeRecipe = [
  bootEndScript,
  idleLeaversScript,
  keylessScript,
  leanScript,
  fixedAddressesScript,
  rehearsalScript,
  "identity",
  restingShare,
  restingWindows,
];

/**
 * The guest's part: its boot is over, it has no ssh host keys, nothing is left to be written, its caches hold no more
 * than a first command needs.
 */
export async function endBoot(
  agent: AgentSession,
  accelerator: Accelerator,
  signal: AbortSignal,
): Promise<void> {
  await runInGuest(agent, bootEndScript, bootEndTimeoutMs, signal);
  await runInGuest(agent, idleLeaversScript, 60_000, signal);
  await runInGuest(agent, keylessScript, 60_000, signal);
  await runInGuest(agent, leanScript, 120_000, signal);
  if (accelerator === "tcg") await runInGuest(agent, fixedAddressesScript, 60_000, signal);
  await runInGuest(agent, rehearsalScript, 120_000, signal, { check: false });
  await agent.identify(rehearsedIdentity(agent.info.hostname), { signal, timeoutMs: 120_000 });
  await runInGuest(agent, "sync", 120_000, signal);
}

/** What every clone is given another of at once: where it is kept is then there, and in memory. */
function rehearsedIdentity(hostname: string): GuestIdentity {
  return {
    hostname,
    clockMs: Date.now(),
    entropy: randomBytes(64).toString("base64"),
    machineId: randomBytes(16).toString("hex"),
    bootId: randomUUID(),
  };
}

/** The host's part, with no word to the guest, which would wake it: its process uses no CPU and no disk any more. */
export async function waitForRest(
  domains: Domains,
  domain: string,
  what: string,
  signal: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + restTimeoutMs;
  let before = { ...(await domains.activity(domain, signal)), atMs: performance.now() };
  for (let resting = 0; resting < restingWindows;) {
    // There is no event for a guest that does nothing.
    await pause(windowMs, what, signal);
    const now = { ...(await domains.activity(domain, signal)), atMs: performance.now() };
    const share = ((now.cpuSeconds - before.cpuSeconds) * 1000) / (now.atMs - before.atMs);
    resting = share < restingShare && now.diskRequests === before.diskRequests ? resting + 1 : 0;
    before = now;
    if (resting < restingWindows && now.atMs > deadline) throw new GuestRestlessError(what, restTimeoutMs);
  }
}

function pause(ms: number, what: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = () => {
      clearTimeout(timer);
      reject(new AbortedError(what, signal.reason));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", leave);
      resolve();
    }, ms);
    signal.addEventListener("abort", leave, { once: true });
    if (signal.aborted) leave();
  });
}
