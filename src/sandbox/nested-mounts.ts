/** Mounts below mounts: the guest mounts them in an order in which none hides another, at places that can be made. */
import { lstat } from "node:fs/promises";
import { join } from "node:path";

import type { MachineMount } from "../backends/backend.ts";
import { errnoOf, InvalidArgumentError, shellQuoted } from "../errors/index.ts";
import { isInside } from "./replaceable-mounts.ts";

/** A mount comes after those that it lies below, whatever the order in which they were asked for. */
export function outermostFirst<M extends Pick<MachineMount, "guestPath">>(mounts: readonly M[]): M[] {
  return mounts.toSorted((one, other) => depthOf(one) - depthOf(other));
}

/**
 * The place of a mount below another one is a folder of the host's. The guest makes it when it is missing, and cannot in
 * what is read-only. Throws `invalid_argument`.
 */
export async function checkNestedPlace(
  field: string,
  mount: MachineMount,
  mounts: readonly MachineMount[],
): Promise<void> {
  const below = mounts.filter((other) => other !== mount && isInside(mount.guestPath, other.guestPath));
  const outer = outermostFirst(below).at(-1);
  if (outer === undefined) return;
  const place = join(outer.hostPath, mount.guestPath.slice(outer.guestPath.length));
  const kind = await kindOf(place);
  if (kind === "folder" || kind === "unknown" || (kind === "missing" && !outer.readOnly)) return;
  const found =
    kind === "missing"
      ? `${outer.guestPath} is mounted read-only, and there is no folder ${place} to mount it on`
      : `${place}, on which it would be mounted, is no folder`;
  throw new InvalidArgumentError(field, `cannot mount at ${mount.guestPath}: ${found}`, {
    hint: kind === "missing" ? `mkdir -p ${shellQuoted(place)}` : "choose another path in the guest",
  });
}

function depthOf({ guestPath }: Pick<MachineMount, "guestPath">): number {
  return guestPath.split("/").length;
}

/** `unknown`: this user may not look there, and the guest will find out. */
async function kindOf(path: string): Promise<"folder" | "missing" | "other" | "unknown"> {
  try {
    return (await lstat(path)).isDirectory() ? "folder" : "other";
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return "missing";
    return errnoOf(error) === "ENOTDIR" || errnoOf(error) === "ELOOP" ? "other" : "unknown";
  }
}
