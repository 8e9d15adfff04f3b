/** Whether another user can reach a file: QEMU's, where libvirt runs QEMU as somebody else. */
import { stat } from "node:fs/promises";
import { dirname, sep } from "node:path";

export interface Account {
  uid: number;
  gid: number;
}

/**
 * The first part of `path` that `account` may not pass (folders) or read (the path itself); `undefined` when all is well.
 * Goes by mode bits and the primary group alone: an ACL may allow more than this says, never less in practice.
 */
export async function blockedAt(path: string, account: Account): Promise<string | undefined> {
  const parts: string[] = [];
  for (let part = path; ; part = dirname(part)) {
    parts.unshift(part);
    if (part === sep || part === dirname(part)) break;
  }
  for (const part of parts) {
    const status = await stat(part).catch(() => undefined);
    // Not even visible to us: then hardly to QEMU.
    if (status === undefined) return part;
    const needed = status.isDirectory() ? 0o1 : 0o4;
    if (!permits(status, account, needed)) return part;
  }
  return undefined;
}

function permits(
  status: { mode: number; uid: number; gid: number },
  account: Account,
  needed: number,
): boolean {
  if (account.uid === 0) return true;
  const shift = status.uid === account.uid ? 6 : status.gid === account.gid ? 3 : 0;
  return ((status.mode >> shift) & needed) === needed;
}
