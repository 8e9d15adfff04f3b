/** What became of a sandbox's mounts since they were checked at its create. */
import { realpath } from "node:fs/promises";

import { change } from "./changes.ts";
import type { SandboxContext } from "./context.ts";
import { folderIdentity, maybeSameFolder } from "./folder-identity.ts";
import { type LiveSandbox, mayRun } from "./registry.ts";
import {
  findLinkable,
  howToFree,
  linkableReason,
  mountField,
  type MountHolder,
  MountReplaceableError,
} from "./replaceable-mounts.ts";
import { unrecordedMounts } from "./unrecorded-mounts.ts";

/**
 * Before each start. A guest that is off puts no links anywhere, and one that stands already is seen by the backend; so only
 * those count that may run. Whoever calls has said that the sandbox is starting: of two that start the second is refused.
 */
export async function checkMountsAgain(
  context: Pick<SandboxContext, "registry" | "backends" | "shutdown">,
  sandbox: LiveSandbox,
  signal: AbortSignal,
): Promise<void> {
  const runningBeside = async (): Promise<MountHolder[]> => {
    const unrecorded = await unrecordedMounts(context, signal);
    const others = context.registry.all().filter((other) => other !== sandbox && mayRun(other));
    return [...unrecorded, ...others.map(({ record }) => record.spec)];
  };
  const mounts = sandbox.record.spec.mounts.map(({ hostPath: path }, index) => {
    return { field: mountField(index), path };
  });
  const place = await findLinkable(mounts, runningBeside);
  if (place === undefined) return;
  const reason = linkableReason(place, place.holder);
  throw new MountReplaceableError(place.mount, reason, howToFree(place.holder, "stop"));
}

/** Writes down which folders the machine is about to open. One that was made anew is told of: no guest could. */
export async function recordFolders(context: SandboxContext, sandbox: LiveSandbox): Promise<string[]> {
  const { spec, warnings } = sandbox.record;
  const anew: string[] = [];
  const mounts = await Promise.all(
    spec.mounts.map(async (mount) => {
      const { hostPath, folder: before } = mount;
      // With a link or nothing in its place it will not be mounted, and is the one to compare with when it is back.
      if ((await realpath(hostPath).catch(() => undefined)) !== hostPath) return mount;
      const folder = await folderIdentity(hostPath);
      if (folder !== undefined && before !== undefined && !maybeSameFolder(folder, before)) {
        anew.push(`${hostPath} is another folder than before: the sandbox sees the one that is there now`);
      }
      return { ...mount, folder };
    }),
  );
  if (mounts.some(({ folder }, index) => folder !== spec.mounts[index]?.folder)) {
    const told = new Set([...warnings, ...anew]);
    await change(context, sandbox, { spec: { ...spec, mounts }, warnings: [...told] });
  }
  return anew;
}
