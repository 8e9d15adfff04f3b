"""The operations by name, and those of a few lines."""
import os
import time

from .commands import Exec
from .dial import Dial
from .files import ListDirectory, ReadFile, WriteFile
from .filesystem import MakeDirectory, RemoveFile, RenameFile, StatFile, read_text
from .machine import Identify, Mount
from .processes import Helper, find_signal
from .streams import Stream
from .succession import cut_arguments
from .wire import MAX_PAYLOAD, AgentError, number_param, param, text_param


class ListCommands(Stream):
    name = "commands"
    LIMIT = 256

    def start(self, params):
        self.agent.forget_ended()
        commands = list(self.agent.commands.values())[: self.LIMIT]
        room = MAX_PAYLOAD // max(1, len(commands)) - 100  # what is beside the arguments takes less than that
        self.result(
            {
                "commands": [
                    {
                        "pid": command.pid,
                        "argv": cut_arguments(command.argv, room),
                        "started_ms": int(command.started_at * 1000),
                        "detached": command.detached,
                    }
                    for command in commands
                ]
            }
        )


class SignalCommand(Stream):
    """A signal for a command of any session, detached ones most of all."""

    name = "signal"

    def start(self, params):
        self.agent.forget_ended()
        command = self.agent.commands.get(number_param(params, "pid", 1, 1 << 31, 1))
        if command is None:
            raise AgentError("not_found", "no command with the process id %s runs" % params.get("pid"))
        command.signal(find_signal(text_param(params, "signal", "SIGTERM")))
        self.result()


class Statistics(Stream):
    name = "statistics"

    def start(self, params):
        memory = {}
        for line in read_text("/proc/meminfo").splitlines():
            words = line.split()
            if len(words) > 1 and words[1].isdigit():
                memory[words[0]] = int(words[1]) * 1024
        first = read_text("/proc/stat").split("\n", 1)[0].split()[1:]
        times = [int(word) for word in first]
        busy = sum(times[:3] + times[5:8])  # without idle and iowait; guest time is part of user time
        disk = os.statvfs("/")
        uptime = read_text("/proc/uptime").split()
        self.result(
            {
                "uptime_seconds": float(uptime[0]) if uptime else 0.0,
                "load_average": list(os.getloadavg()),
                "cpu_seconds": busy / float(os.sysconf("SC_CLK_TCK")),
                "memory_total": memory.get("MemTotal:", 0),
                "memory_available": memory.get("MemAvailable:", memory.get("MemFree:", 0)),
                "disk_total": disk.f_blocks * disk.f_frsize,
                "disk_available": disk.f_bavail * disk.f_frsize,
                "processes": sum(1 for name in os.listdir("/proc") if name.isdigit()),
            }
        )


class Ping(Stream):
    name = "ping"

    def start(self, params):
        self.result({"clock_ms": int(time.time() * 1000)})


class Sync(Stream):
    name = "sync"

    def start(self, params):
        self.agent.slowly(self, os.sync)


def power_command(reboot, exists):
    """The command that this guest's init understands, or None. `exists` tells whether a path is there."""
    verb = "reboot" if reboot else "poweroff"
    if exists("/run/systemd/system"):
        return ["systemctl", "--no-block", verb]
    if exists("/run/openrc") and exists("/run/initctl") and exists("/sbin/openrc-shutdown"):
        return ["openrc-shutdown", "--reboot" if reboot else "--poweroff", "now"]
    for folder in ("/sbin/", "/usr/sbin/", "/bin/", "/usr/bin/"):
        if exists(folder + verb):  # busybox, and sysvinit, whose init OpenRC has on Debian
            return [folder + verb]
    return None


class PowerOff(Stream):
    """Answers first, then acts."""

    name = "power_off"

    def start(self, params):
        reboot = param(params, "reboot", bool, False)
        if os.geteuid() != 0:
            raise AgentError("permission_denied", "the agent does not run as root and cannot power off")
        command = power_command(reboot, os.path.exists)
        self.result()
        self.agent.loop.after(0.05, lambda: self.agent.guarded(self, self.act, command, reboot))

    def act(self, command, reboot):
        try:
            if command is None or os.getpid() == 1:
                raise AgentError("unsupported", "no init to ask")
            Helper(self, command, lambda code: self.force(reboot) if code else None)
        except AgentError:
            self.force(reboot)

    @staticmethod
    def force(reboot):
        """Without an init that does it: straight to the kernel."""
        os.sync()
        with open("/proc/sysrq-trigger", "w") as trigger:
            trigger.write("b" if reboot else "o")


OPERATIONS = {
    kind.name: kind
    for kind in (
        Exec,
        ListCommands,
        SignalCommand,
        ReadFile,
        WriteFile,
        ListDirectory,
        StatFile,
        MakeDirectory,
        RemoveFile,
        RenameFile,
        Dial,
        Identify,
        Mount,
        Statistics,
        Ping,
        Sync,
        PowerOff,
    )
}
