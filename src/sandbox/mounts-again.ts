/** What became of a sandbox's mounts since they were checked at its create. */
import { change } from "./changes.ts";
import type { SandboxContext } from "./context.ts";
import { folderIdentity, maybeSameFolder } from "./folder-identity.ts";
import { type LiveSandbox, mayRun } from "./registry.ts";
import { findLinkable, linkableReason, mountField, MountReplaceableError } from "./replaceable-mounts.ts";

/**
 * Before each start. A guest that is off puts no links anywhere, and one that stands already is seen by the backend; so only
 * those count that may run. Whoever calls has said that the sandbox is starting, so of two that start the second is refused.
 */
export async function checkMountsAgain(
  { registry }: Pick<SandboxContext, "registry">,
  sandbox: LiveSandbox,
): Promise<void> {
  const others = (): LiveSandbox[] => registry.all().filter((other) => other !== sandbox);
  for (const [index, { hostPath: path }] of sandbox.record.spec.mounts.entries()) {
    const place = await findLinkable(path, () => others().filter(mayRun).map(holderOf));
    if (place === undefined) continue;
    const writer = JSON.stringify(place.name);
    const reason = linkableReason(place, `sandbox ${writer}`);
    const hint = `stop that sandbox first, or remove it: heyvm stop ${writer}`;
    throw new MountReplaceableError({ field: mountField(index), path }, reason, hint);
  }
  // The other one's machine may not have opened its folders yet.
  for (const other of others().filter(({ starting }) => starting)) {
    for (const { hostPath } of other.record.spec.mounts) {
      const place = await findLinkable(hostPath, () => [holderOf(sandbox)]);
      if (place === undefined) continue;
      const name = JSON.stringify(other.record.spec.name);
      const reason = `sandbox ${name} has ${hostPath} below it and is starting, and this one could put a link in its place`;
      const hint = "start this one again when that one is up";
      throw new MountReplaceableError({ field: "mounts", path: place.above }, reason, hint);
    }
  }
}

/** Writes down which folders the machine is about to open. One that was made anew is told of: no guest could. */
export async function recordFolders(context: SandboxContext, sandbox: LiveSandbox): Promise<string[]> {
  const { spec, warnings } = sandbox.record;
  const anew: string[] = [];
  const mounts = await Promise.all(
    spec.mounts.map(async (mount) => {
      const { hostPath, folder: before } = mount;
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

function holderOf({ record }: LiveSandbox): LiveSandbox["record"]["spec"] {
  return record.spec;
}
