/** Why a user may not open `/dev/kvm`, and what would change that: its owner, group and mode decide, not a group's name. */
import { readFile, stat } from "node:fs/promises";

import type { DoctorCheck } from "../../backend.ts";
import { joinGroup, remedies } from "./remedies.ts";

/** Owner's group and permission bits of a device. */
export interface DeviceNode {
  groupId: number;
  mode: number;
}

/** Who asks. */
export interface GroupMember {
  /** The groups of this process: what a login gave it. */
  groupIds: readonly number[];
  /** The text of `/etc/group`. */
  groups: string;
}

export interface DeviceRemedy {
  /** What is wrong, to follow "cannot be opened". */
  why: string;
  remedy?: DoctorCheck["remedy"];
}

/** What opens a device to a user who may not open it now. */
export function deviceRemedy(node: DeviceNode, { groupIds, groups }: GroupMember): DeviceRemedy {
  const { groupId, mode } = node;
  const group = groupsOf(groups).find(({ id }) => id === groupId);
  if (group !== undefined && isForGroup(node)) {
    return groupIds.includes(groupId)
      ? { why: `although this user is in its group, ${group.name}: a container's rules may forbid it` }
      : {
          why: `it is for the group ${group.name}, which this user is not in; the command works after the next login`,
          remedy: joinGroup(group.name),
        };
  }
  const bits = (mode & 0o777).toString(8).padStart(4, "0");
  const why = `its group is ${group?.name ?? groupId}, and its mode ${bits}`;
  const hasKvm = groupsOf(groups).some(({ name }) => name === "kvm");
  return { why, remedy: hasKvm ? remedies.kvmNode : remedies.kvmNodeAndGroup };
}

/** Whether its group, which is one to join, may read and write it. */
export function isForGroup({ groupId, mode }: DeviceNode): boolean {
  return (mode & 0o060) === 0o060 && groupId !== 0;
}

/** `undefined` when there is none. */
export async function readDeviceNode(path: string): Promise<DeviceNode | undefined> {
  const status = await stat(path).catch(() => undefined);
  return status && { groupId: status.gid, mode: status.mode };
}

/** This process's groups. */
export async function readGroupMember(): Promise<GroupMember> {
  return {
    groupIds: [...(process.getgroups?.() ?? []), process.getegid?.() ?? -1],
    groups: await readFile("/etc/group", "utf8").catch(() => ""),
  };
}

/** The lines of group(5). */
export function groupsOf(text: string): { name: string; id: number }[] {
  return text.split("\n").flatMap((line) => {
    const [name = "", , id = ""] = line.split(":");
    return /^\d+$/.test(id) ? [{ name, id: Number(id) }] : [];
  });
}
