/** What the preparation has the agent run in the guest, as POSIX shell. */
import type { SandboxType } from "../../config/machine-kinds.ts";
import { untilDefaultRoute } from "./default-route.ts";

/** Succeeds when the type's runtime is there and works. Cheap enough to be asked for every type, under emulation, too. */
export const probeScripts: Record<SandboxType, string> = {
  shell: "exit 0",
  // A virtual environment gets its pip from ensurepip, whose wheels are a package of their own on Debian.
  python: `set -eu
python3 -m pip --version
python3 -c 'import ensurepip; assert ensurepip.version()'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv --without-pip "$folder/venv"
"$folder/venv/bin/python" -c 'import sys; assert sys.prefix != sys.base_prefix'
`,
  node: `set -eu
node -e 0
npm --version
`,
};

const packages = {
  python: { apt: "python3 python3-pip python3-venv", apk: "python3 py3-pip", dnf: "python3 python3-pip" },
  node: { apt: "nodejs npm", apk: "nodejs npm", dnf: "nodejs npm" },
};

/** Installs the type's runtime with the distribution's package manager; needs a network. */
export function installRuntimeScript(type: Exclude<SandboxType, "shell">): string {
  const { apt, apk, dnf } = packages[type];
  return `set -eu
${untilDefaultRoute} || { echo "no network came up" >&2; exit 1; }
if command -v apt-get; then
  export DEBIAN_FRONTEND=noninteractive
  # The image's own daily update may run at the same time.
  options='-o Acquire::Retries=3 -o DPkg::Lock::Timeout=300'
  apt-get $options update
  apt-get $options install -y --no-install-recommends ${apt}
  apt-get clean
elif command -v apk; then
  apk add --no-cache ${apk}
elif command -v dnf; then
  dnf install -y ${dnf}
  dnf clean all
else
  echo "no package manager that heyvm knows (apt, apk, dnf)" >&2
  exit 1
fi
`;
}

/** Lets any network card come up by DHCP, whichever network manager the image has; NetworkManager does so by itself. */
export const networkScript = `set -eu
if command -v netplan > /dev/null; then
  rm -f /etc/netplan/50-cloud-init.yaml
  umask 077
  cat > /etc/netplan/60-heyvm.yaml <<'END'
network:
  version: 2
  ethernets:
    heyvm:
      match: {name: "e*"}
      dhcp4: true
      dhcp6: true
      dhcp-identifier: mac
      optional: true
END
elif [ -d /etc/systemd/network ] && systemctl is-enabled --quiet systemd-networkd; then
  cat > /etc/systemd/network/20-heyvm.network <<'END'
[Match]
Name=e*
[Link]
RequiredForOnline=no
[Network]
DHCP=yes
[DHCPv4]
ClientIdentifier=mac
END
elif [ -e /etc/network/interfaces ]; then
  rm -f /etc/network/interfaces.d/50-cloud-init
  printf 'source-directory /etc/network/interfaces.d\\n\\nauto lo\\niface lo inet loopback\\n\\n' > /etc/network/interfaces
  if [ -e /etc/alpine-release ]; then
    printf 'auto eth0\\niface eth0 inet dhcp\\n' >> /etc/network/interfaces
  else
    # A pattern can name no stanza by itself: "allow-hotplug /e*=heyvm" is lost on "ifup eth0", which udev and the boot
    # run.
    printf '#!/bin/sh\\necho heyvm\\n' > /etc/network/heyvm-card
    chmod 755 /etc/network/heyvm-card
    printf 'allow-hotplug /e*\\nmapping e*\\n  script /etc/network/heyvm-card\\niface heyvm inet dhcp\\n' >> /etc/network/interfaces
  fi
fi
`;

/**
 * Units that cost boot time or wake the guest later and that no sandbox needs. Names that an image does not have are
 * harmless: masking makes a link only.
 */
const unneededUnits = [
  "apport.service",
  "apt-daily.service",
  "apt-daily.timer",
  "apt-daily-upgrade.service",
  "apt-daily-upgrade.timer",
  "apt-news.service",
  "dpkg-db-backup.timer",
  "e2scrub_all.timer",
  "e2scrub_reap.service",
  "esm-cache.service",
  "fstrim.timer",
  "fwupd.service",
  "fwupd-refresh.timer",
  "grub-common.service",
  "grub-initrd-fallback.service",
  "man-db.timer",
  // For a graphics card, which no sandbox has.
  "modprobe@drm.service",
  "ModemManager.service",
  "motd-news.timer",
  "multipathd.service",
  "multipathd.socket",
  "networkd-dispatcher.service",
  "NetworkManager-wait-online.service",
  "pollinate.service",
  "secureboot-db.service",
  // Their keys would be in every clone.
  "sshd-keygen.service",
  "sshd-keygen.target",
  "sshd-keygen@.service",
  "snapd.service",
  "snapd.seeded.service",
  "snapd.socket",
  "systemd-networkd-wait-online.service",
  "systemd-pstore.service",
  "ua-timer.timer",
  "ubuntu-advantage.service",
  "unattended-upgrades.service",
  "update-notifier-download.timer",
];

/**
 * Drivers of what no sandbox has. They are loaded on sight of a chip that every QEMU machine has, or (cfg80211, the
 * largest) because systemd-networkd asks for wireless cards. Nothing else keeps a user from loading them.
 */
const unneededModules = ["cfg80211", "iTCO_wdt", "pcspkr"];

/** Turns a guest that was set up into one that clones can be made of. The last thing that runs in it. */
export const settleScript = `set -eu
# cloud-init has done its work; clones need no seed.
touch /etc/cloud/cloud-init.disabled
if [ -d /run/systemd/system ]; then
  for unit in ${unneededUnits.join(" ")}; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
  done
  # Without host keys, of which each sandbox gets its own, an ssh server only fails, five times.
  for server in ssh sshd; do
    mkdir -p "/etc/systemd/system/$server.service.d"
    printf '[Unit]\\nConditionPathExistsGlob=/etc/ssh/ssh_host_*_key\\n' > "/etc/systemd/system/$server.service.d/heyvm.conf"
  done
elif command -v rc-update > /dev/null; then
  for service in cloud-init-ds-identify cloud-init-local cloud-init cloud-config cloud-final cloud-init-hotplugd; do
    rc-update -a del "$service" > /dev/null 2>&1 || true
  done
  [ -e /etc/init.d/sshd ] && echo 'sshd_disable_keygen=yes' >> /etc/conf.d/sshd
fi

if [ -d /etc/modprobe.d ]; then
  for module in ${unneededModules.join(" ")}; do echo "blacklist $module"; done > /etc/modprobe.d/heyvm.conf
fi

# Nobody sits before the boot menu.
[ -w /boot/grub/grub.cfg ] && sed -i 's/set timeout=[1-9][0-9]*/set timeout=0/' /boot/grub/grub.cfg
if [ -d /etc/default/grub.d ]; then echo 'GRUB_TIMEOUT=0' > /etc/default/grub.d/60-heyvm.cfg; fi
[ -w /boot/extlinux.conf ] && sed -i 's/^TIMEOUT .*/TIMEOUT 1/' /boot/extlinux.conf

# What must differ between clones.
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /var/lib/systemd/random-seed /var/lib/misc/openrc-random-seed
[ -e /etc/machine-id ] && : > /etc/machine-id
[ -f /var/lib/dbus/machine-id ] && ! [ -L /var/lib/dbus/machine-id ] && rm -f /var/lib/dbus/machine-id

# The disk's size as it is, so that a clone of the same size does not look for room to grow.
mkdir -p /var/lib/heyvm /workspace
while read -r _ _ device _ target _; do
  [ "$target" = / ] && break
done < /proc/self/mountinfo
disk="/sys/dev/block/$device"
[ -e "$disk/partition" ] && disk="$disk/.."
if [ -e "$disk/size" ]; then cat "$disk/size" > /var/lib/heyvm/disk-sectors; fi
if command -v fstrim > /dev/null; then fstrim / || true; fi
sync
`;
