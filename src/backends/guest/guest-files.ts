/** The files that a prepared disk gets: the agent, its service under either init system, and what runs at boot. */
import { agentSource } from "../../agent/agent-source.ts";
import {
  guestFolder as folder,
  openrcService,
  startScript,
  systemdSlice,
  systemdUnit,
} from "./guest-service.ts";

export interface GuestFile {
  path: string;
  mode: number;
  content: string;
}

/** Installs and starts the service; runs in the guest's first boot, long before cloud-init is done. */
export const installScriptPath = `${folder}/install.sh`;

/** Makes the root file system as large as the disk. Without a change of the disk it ends without starting a program. */
const growRootScript = `#!/bin/sh
# Grows the root partition and its file system to the end of the disk, after the disk has become larger.
set -eu
while read -r _ _ device _ target rest; do
  [ "$target" = / ] && break
done < /proc/self/mountinfo
rest="\${rest#* - }"
type="\${rest%% *}"
node="/sys/dev/block/$device"
[ -e "$node/size" ] || exit 0
disk="$node"
[ -e "$node/partition" ] && disk="$node/.."
read -r sectors < "$disk/size"
stamp=/var/lib/heyvm/disk-sectors
seen=
[ -e "$stamp" ] && read -r seen < "$stamp"
[ "$seen" = "$sectors" ] && exit 0
name=$(sed -n 's/^DEVNAME=//p' "$node/uevent")
if [ -e "$node/partition" ]; then
  read -r number < "$node/partition"
  whole=$(sed -n 's/^DEVNAME=//p' "$disk/uevent")
  if command -v growpart > /dev/null; then
    growpart "/dev/$whole" "$number" || [ $? -eq 1 ]
  else
    echo ', +' | sfdisk --quiet --no-reread --force -N "$number" "/dev/$whole"
    partx -u "/dev/$whole"
  fi
fi
case "$type" in
  ext*) resize2fs "/dev/$name" ;;
  xfs) xfs_growfs / ;;
  btrfs) btrfs filesystem resize max / ;;
esac
mkdir -p /var/lib/heyvm
echo "$sectors" > "$stamp"
`;

const installScript = `#!/bin/sh
# Enables and starts the agent's service under the init system that is there.
set -eu
modprobe -q virtio_console || true
mkdir -p /workspace
if [ -d /run/systemd/system ]; then
  # Links rather than systemctl enable and mask: each of those reloads everything, which takes seconds under emulation.
  wants=/etc/systemd/system/multi-user.target.wants
  mkdir -p "$wants"
  ln -sf ../heyvm-agent.service "$wants/heyvm-agent.service"
  # Without a network card these would hold the boot for two minutes.
  waits='systemd-networkd-wait-online.service NetworkManager-wait-online.service'
  for unit in $waits; do
    ln -sf /dev/null "/run/systemd/system/$unit"
  done
  systemctl daemon-reload
  systemctl start --no-block heyvm-agent.service
  for unit in $waits; do
    systemctl stop --no-block "$unit" || true
  done
elif command -v rc-update > /dev/null; then
  # Not there from the start: systemd would take it for a service of System V.
  cp ${folder}/heyvm-agent.openrc /etc/init.d/heyvm-agent
  rc-update add heyvm-agent boot
  # Without its dependencies: OpenRC is in the middle of its own run.
  rc-service --nodeps heyvm-agent start
else
  echo "heyvm: neither systemd nor OpenRC runs here" >&2
  exit 1
fi
`;

/** All files for a guest. Which init system it has shows only inside, so both services go in. */
export function guestFiles(): GuestFile[] {
  return [
    ...agentSource().map(({ name, content }) => ({ path: `${folder}/${name}`, mode: 0o644, content })),
    { path: `${folder}/start.sh`, mode: 0o755, content: startScript },
    { path: `${folder}/grow-root.sh`, mode: 0o755, content: growRootScript },
    { path: installScriptPath, mode: 0o755, content: installScript },
    { path: "/etc/systemd/system/heyvm-agent.service", mode: 0o644, content: systemdUnit },
    { path: "/etc/systemd/system/heyvm.slice", mode: 0o644, content: systemdSlice },
    { path: `${folder}/heyvm-agent.openrc`, mode: 0o755, content: openrcService },
  ];
}
