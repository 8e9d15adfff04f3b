/** What can go wrong between heyvm and libvirt, each cause with its remedy. */
import { DiskFullError, HeyvmError, messageOf, shellQuoted } from "../../errors/index.ts";

/** No libvirt daemon answers at the URI. */
export class LibvirtUnreachableError extends HeyvmError {
  constructor(uri: string, hint: string, cause: unknown) {
    super("backend_unavailable", `libvirt does not answer at ${uri}: ${messageOf(cause)}`, {
      cause,
      hint,
      details: { uri },
    });
  }
}

/** The daemon is there and does not let this user in. */
export class LibvirtPermissionError extends HeyvmError {
  constructor(uri: string, cause: unknown) {
    super("permission_denied", `this user may not use libvirt at ${uri}: ${messageOf(cause)}`, {
      cause,
      hint: 'sudo usermod -aG libvirt "$USER" and log in again, or use qemu:///session',
      details: { uri },
    });
  }
}

/** libvirt has no QEMU that can run machines of this architecture. */
export class QemuMissingError extends HeyvmError {
  constructor(architecture: string, cause?: unknown) {
    super("backend_unavailable", `no QEMU for ${architecture} on the host that libvirt runs on`, {
      cause,
      hint: "install QEMU, for example: sudo apt-get install -y qemu-system-x86 qemu-utils",
      details: { architecture },
    });
  }
}

/** The host cannot give a machine the memory that it asks for. */
export class HostMemoryError extends HeyvmError {
  constructor(wantedBytes: number, hostBytes: number) {
    super(
      "invalid_argument",
      `a machine with ${mebibytes(wantedBytes)} MiB of memory does not fit this host, which has ${mebibytes(hostBytes)} MiB`,
      { hint: "ask for less with --memory", details: { field: "memory", host_bytes: hostBytes } },
    );
  }
}

/** libvirt refused or failed at something that should have worked. */
export class LibvirtFailedError extends HeyvmError {
  constructor(what: string, cause: unknown, hint?: string) {
    super("backend_failed", `${what} failed: ${messageOf(cause)}`, { cause, hint });
  }
}

/** A machine's preparation did not come to its end. */
export class PreparationFailedError extends HeyvmError {
  constructor(what: string, why: string, logPath: string | undefined, lastLines: string, cause?: unknown) {
    super("guest_failed", `${what}: ${why}; ${consoleWords(logPath, lastLines)}`, {
      cause,
      hint: "check that the image is a cloud-init image that boots from BIOS and carries Python 3",
      details: logPath === undefined ? {} : { log_path: logPath },
    });
  }
}

/** The guest booted, as far as anyone can tell, and its agent never answered. */
export class AgentNeverAnsweredError extends HeyvmError {
  constructor(what: string, afterMs: number, logPath: string | undefined, lastLines: string, cause: unknown) {
    super(
      "guest_unresponsive",
      `${what}: the guest's agent did not answer within ${Math.round(afterMs / 1000)} s; ${consoleWords(logPath, lastLines)}`,
      {
        cause,
        hint: "check that the image is a cloud-init image that boots from BIOS and carries Python 3",
        details: logPath === undefined ? {} : { log_path: logPath },
      },
    );
  }
}

function consoleWords(logPath: string | undefined, lastLines: string): string {
  const log =
    logPath === undefined ? "the console's log could not be kept" : `the console's log is ${logPath}`;
  return `${log}, ${lastLines === "" ? "the guest printed nothing" : `its last lines:\n${lastLines}`}`;
}

/** A folder that QEMU's user may not enter. */
export class MountUnreachableError extends HeyvmError {
  constructor(hostPath: string, blockedAt: string, uid: number) {
    super(
      "permission_denied",
      `${hostPath} cannot be mounted: QEMU runs as user ${uid} here and may not enter ${blockedAt}`,
      {
        hint: `sudo setfacl -m u:${uid}:rx ${shellQuoted(blockedAt)}, or use qemu:///session, where QEMU runs as you`,
        details: { host_path: hostPath, blocked_at: blockedAt },
      },
    );
  }
}

/** A link where a folder was when it was checked: a guest may have put it there. */
export class MountMovedError extends HeyvmError {
  constructor(hostPath: string, now: string) {
    super(
      "permission_denied",
      `${hostPath} cannot be mounted: it was a folder when it was checked, and leads to ${now} now`,
      {
        hint: `see who made the link, and put the folder back: namei -l ${shellQuoted(hostPath)}`,
        details: { host_path: hostPath },
      },
    );
  }
}

/** Nothing where a folder was when it was checked. */
export class MountGoneError extends HeyvmError {
  constructor(hostPath: string, cause: unknown) {
    super("path_not_found", `${hostPath} cannot be mounted: the folder that it was is gone`, {
      cause,
      hint: `put it back, or an empty one: mkdir -p ${shellQuoted(hostPath)}`,
      details: { host_path: hostPath },
    });
  }
}

/** A folder that cannot be looked at any more, or is none. */
export class MountUnreadableError extends HeyvmError {
  constructor(hostPath: string, cause: unknown) {
    super("permission_denied", `${hostPath} cannot be mounted any more: ${messageOf(cause)}`, {
      cause,
      hint: `see what stands in the way: namei -l ${shellQuoted(hostPath)}`,
      details: { host_path: hostPath },
    });
  }
}

/** Turns what libvirt said into the error of its cause. */
export function libvirtFailure(what: string, cause: unknown, place = "the storage pool"): HeyvmError {
  if (cause instanceof HeyvmError) return cause;
  const message = messageOf(cause);
  if (/no space left on device|disk quota exceeded/i.test(message))
    return new DiskFullError(what, place, cause);
  if (/cannot set up guest memory|cannot allocate memory/i.test(message)) {
    return new LibvirtFailedError(
      what,
      cause,
      "the host has not enough free memory: ask for less with --memory, or stop other sandboxes",
    );
  }
  return new LibvirtFailedError(what, cause);
}

function mebibytes(bytes: number): number {
  return Math.floor(bytes / 1024 ** 2);
}
