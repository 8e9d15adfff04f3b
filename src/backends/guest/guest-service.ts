/** The agent as a service of the guest's init system, systemd or OpenRC. */

/** The name of the virtio port that the agent listens on; in the guest `/dev/virtio-ports/org.heyvm.agent.0`. */
export const agentChannel = "org.heyvm.agent.0";

/** Where all of heyvm's files in a guest are. */
export const guestFolder = "/usr/local/lib/heyvm";

/**
 * Finds the port by what the kernel says. udev's link to it comes up to ten seconds later: udev has to look at every
 * other device, too.
 */
export const startScript = `#!/bin/sh
# Starts the agent on its virtio port.
set -eu
modprobe -q virtio_console || true
tries=300
while [ $tries -gt 0 ]; do
  for name in /sys/class/virtio-ports/*/name; do
    [ -e "$name" ] && read -r text < "$name" && [ "$text" = ${agentChannel} ] || continue
    port="\${name%/name}"
    # -I -S: neither the environment nor site packages can change what the agent imports.
    # /run: what ran is gone with the boot.
    exec /usr/bin/python3 -I -S ${guestFolder}/agent.py --port "/dev/\${port##*/}" --journal /run/heyvm-commands
  done
  tries=$((tries - 1))
  sleep 0.1
done
echo "no port ${agentChannel}" >&2
exit 1
`;

export const systemdUnit = `[Unit]
Description=heyvm agent
# As early as commands can run: not after basic.target, which waits for much that a sandbox does not need. /tmp is
# emptied by systemd-tmpfiles-setup, and until systemd-machine-id-commit nobody can write the machine id.
DefaultDependencies=no
After=local-fs.target systemd-tmpfiles-setup.service systemd-machine-id-commit.service
Conflicts=shutdown.target
Before=shutdown.target
IgnoreOnIsolate=yes
StartLimitIntervalSec=0

[Service]
ExecStartPre=-${guestFolder}/grow-root.sh
ExecStart=${guestFolder}/start.sh
Environment=HOME=/root LANG=C.UTF-8
Restart=always
RestartSec=1
# The start command, and what a command that ended has left running, outlive the agent's end and its restart, as
# supervise-daemon lets them. The next agent ends the rest; at a shutdown, the agent ends all before it leaves.
KillMode=process
# Before the rest of the boot, and answering while the guest is busy. Commands are as nice as ever.
Nice=-10
CPUSchedulingResetOnFork=yes
LimitNOFILE=65536
# A command that runs out of memory must not take the agent with it.
OOMPolicy=continue
TasksMax=infinity
Delegate=yes
Slice=heyvm.slice

[Install]
WantedBy=multi-user.target
`;

/**
 * What the sandbox's user runs goes before the guest's own services. A clone's new clock and host name wake most of
 * them, and on one CPU the first command would wait for all.
 */
export const systemdSlice = `[Unit]
Description=The sandbox's commands
DefaultDependencies=no
Before=slices.target

[Slice]
CPUWeight=1000
`;

export const openrcService = `#!/sbin/openrc-run
description="heyvm agent"
supervisor=supervise-daemon
command=${guestFolder}/start.sh
respawn_delay=1
respawn_max=0
rc_ulimit="-n 65536"

depend() {
  # Not "need": Debian's OpenRC mounts by a script of another name.
  after localmount bootmisc modules
}

start_pre() {
  ${guestFolder}/grow-root.sh || true
}
`;
