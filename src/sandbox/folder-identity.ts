import { stat } from "node:fs/promises";

/**
 * Which folder has this name at the moment, as `DEVICE:INODE` of stat(2): that stays when the folder is renamed, and no
 * other gets it while a machine has the folder open. `undefined` when it cannot be looked at.
 */
export async function folderIdentity(path: string): Promise<string | undefined> {
  const status = await stat(path, { bigint: true }).catch(() => undefined);
  return status && `${status.dev}:${status.ino}`;
}

/** Whether two identities can be of one folder: after a boot of the host its device may have another number. */
export function maybeSameFolder(one: string, other: string): boolean {
  return inodeOf(one) === inodeOf(other);
}

function inodeOf(identity: string): string | undefined {
  return identity.split(":")[1];
}
