/** Host folders that a sandbox may see. The guest is hostile, so each is looked at before it is handed over. */
import { constants } from "node:fs";
import { access, realpath, stat } from "node:fs/promises";
import { resolve } from "node:path";

import type { MachineMount } from "../backends/backend.ts";
import { errnoOf, HeyvmError, InvalidArgumentError, messageOf, shellQuoted } from "../errors/index.ts";
import { checkGuestPath, hasControlCharacters } from "./guest-values.ts";
import { readMountTable } from "./mount-table.ts";
import { checkNestedPlace } from "./nested-mounts.ts";
import { type AskHolders, checkWays, mountField } from "./replaceable-mounts.ts";

export interface MountRequest {
  hostPath: string;
  guestPath: string;
  readOnly: boolean;
}

/** The guest's own system: a mount over one of these would break it. */
const guestSystemFolders = new Set(
  ["", "bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "usr", "var"].map(
    (name) => `/${name}`,
  ),
);

/** Kernel interfaces: nothing of them is a folder of files. */
const hostKernelFolders = ["/proc", "/sys", "/dev"];

/** A host folder that this user may not hand over. */
export class MountDeniedError extends HeyvmError {
  constructor(field: string, path: string, wanted: "read" | "write", cause: unknown) {
    super("permission_denied", `cannot mount ${path}: this user may not ${wanted} it`, {
      cause,
      details: { field, path },
      hint: wanted === "write" ? "mount it read-only: --mount HOST:GUEST:ro" : `ls -ld ${shellQuoted(path)}`,
    });
  }
}

/** What a mount must keep away from. */
export interface MountSurroundings {
  /** Folders that no guest may see: the state folder. */
  forbidden: readonly string[];
  /** The sandboxes that there are at the moment. */
  others: AskHolders;
}

/** Follows links, with a warning, and checks each mount. */
export async function resolveMounts(
  requests: readonly MountRequest[],
  { forbidden, others }: MountSurroundings,
): Promise<{ mounts: MachineMount[]; warnings: string[] }> {
  const mounts: MachineMount[] = [];
  const warnings: string[] = [];
  for (const [index, request] of requests.entries()) {
    const field = `mounts[${index}]`;
    const guestPath = checkMountPoint(`${field}.sandbox_path`, request.guestPath);
    if (mounts.some((other) => other.guestPath === guestPath)) {
      throw new InvalidArgumentError(`${field}.sandbox_path`, `two mounts at ${guestPath}`, {
        hint: "give each mount a path of its own",
      });
    }
    const hostPath = await resolveHostFolder(mountField(index), request, forbidden);
    if (hostPath !== resolve(request.hostPath)) {
      warnings.push(`${request.hostPath} is reached by a link: the sandbox sees ${hostPath}`);
    }
    mounts.push({ hostPath, guestPath, readOnly: request.readOnly });
  }
  for (const [index, mount] of mounts.entries()) {
    await checkNestedPlace(`mounts[${index}].sandbox_path`, mount, mounts);
  }
  const asked = mounts.map(({ hostPath: resolved }, index) => {
    return { field: mountField(index), path: requests[index]?.hostPath ?? resolved, resolved };
  });
  await checkWays(asked, mounts, others);
  return { mounts, warnings };
}

function checkMountPoint(field: string, path: string): string {
  const guestPath = checkGuestPath(field, path);
  if (!guestSystemFolders.has(guestPath)) return guestPath;
  throw new InvalidArgumentError(field, `cannot mount over ${guestPath}: the guest needs its own`, {
    hint: "mount below it, or at /workspace",
  });
}

async function resolveHostFolder(
  field: string,
  { hostPath, readOnly }: MountRequest,
  forbidden: readonly string[],
): Promise<string> {
  if (!hostPath.startsWith("/") || hasControlCharacters(hostPath)) {
    throw new InvalidArgumentError(field, `mount source ${JSON.stringify(hostPath)} is not an absolute path`);
  }
  const resolved = await existingFolder(field, hostPath);
  if (hasControlCharacters(resolved)) {
    const shown = JSON.stringify(resolved);
    throw new InvalidArgumentError(field, `cannot mount ${shown}: its name has control characters`);
  }
  if (resolved === "/") {
    throw new InvalidArgumentError(field, "cannot mount /: it would show the whole host to the guest", {
      hint: "mount the one folder that the sandbox needs",
    });
  }
  const secret = await Promise.all(forbidden.map((folder) => realpath(folder).catch(() => folder)));
  const table = readMountTable();
  const around = table.foldersAround(resolved);
  const shielded = [...hostKernelFolders, ...secret].find((folder) => around.has(folder));
  const shown = secret.find((folder) => table.foldersAround(folder).has(resolved));
  if (shielded !== undefined || shown !== undefined) {
    throw new InvalidArgumentError(
      field,
      `cannot mount ${resolved}: nothing in ${shielded ?? shown} may be seen by a guest`,
      { hint: "mount the one folder that the sandbox needs" },
    );
  }
  await checkAccess(field, resolved, constants.R_OK + constants.X_OK, "read");
  if (!readOnly) await checkAccess(field, resolved, constants.W_OK, "write");
  return resolved;
}

async function existingFolder(field: string, path: string): Promise<string> {
  try {
    const resolved = await realpath(path);
    if ((await stat(resolved)).isDirectory()) return resolved;
  } catch (error) {
    if (errnoOf(error) === "EACCES") throw new MountDeniedError(field, path, "read", error);
    const missing = errnoOf(error) === "ENOENT";
    throw new InvalidArgumentError(
      field,
      missing ? `mount source ${path} does not exist` : `cannot mount ${path}: ${messageOf(error)}`,
      { cause: error, hint: missing ? `mkdir -p ${shellQuoted(path)}` : undefined },
    );
  }
  throw new InvalidArgumentError(field, `mount source ${path} is not a folder`, {
    hint: "mount the folder that holds it",
  });
}

async function checkAccess(
  field: string,
  path: string,
  mode: number,
  wanted: "read" | "write",
): Promise<void> {
  try {
    await access(path, mode);
  } catch (error) {
    throw new MountDeniedError(field, path, wanted, error);
  }
}
