"""What an agent leaves to the next one, and how commands end when no next one comes."""
import json
import os
import signal
import time

from .filesystem import read_bytes, read_text
from .processes import (
    KILL_GRACE_SECONDS,
    KILL_ROUNDS,
    START_TICKS,
    process_ids,
    process_status,
    processes_with,
    session_of,
    signal_group,
    signal_process,
)
from .wire import MAX_PAYLOAD, to_json

DETACHED = "detached-"  # so begins the value of a command that goes on without its session and its agent


class Journal:
    """A file for each command that runs, named by its mark. A command at a terminal has none: its terminal's end is
    what it hears of the agent's. What cannot be written costs the next agent its knowledge, and the command nothing."""

    def __init__(self, folder):
        self.folder = folder
        if folder is not None:
            try:
                os.makedirs(folder, 0o700, exist_ok=True)
            except OSError:
                self.folder = None

    def add(self, mark, content):
        if self.folder is None:
            return
        try:
            fd = os.open(os.path.join(self.folder, mark), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(fd, content)
            finally:
                os.close(fd)
        except OSError:
            pass

    def remove(self, mark):
        if self.folder is None:
            return
        try:
            os.unlink(os.path.join(self.folder, mark))
        except OSError:
            pass

    def marks(self):
        try:
            return os.listdir(self.folder) if self.folder is not None else []
        except OSError:
            return []

    def read(self, mark):
        return read_bytes(os.path.join(self.folder, mark), MAX_PAYLOAD)


class Survivor:
    """A detached command that an earlier agent began. It is no child of ours."""

    detached = True

    def __init__(self, mark, entry):
        self.mark = mark
        self.pid = int(entry["pid"])
        self.ticks = int(entry["ticks"])
        self.argv = [str(part) for part in entry["argv"]]
        self.started_at = float(entry["started_at"])

    def is_running(self):
        fields = process_status(self.pid)
        return fields is not None and fields[0] != b"Z" and int(fields[START_TICKS]) == self.ticks

    def signal(self, number):
        signal_group(self.pid, number)


def find_survivor(mark, content):
    try:
        survivor = Survivor(mark, json.loads((content or b"").decode()))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None  # cut off, or none of ours
    return survivor if survivor.is_running() else None


class Remains:
    """What an agent that died has left of the commands that it was to answer: it ends as at a timeout."""

    def __init__(self, agent, marks):
        self.agent = agent
        self.marks = marks
        self.sessions = set()

    def processes(self):
        """Those that are marked, and who shares a session with one of them, dead or alive: it began in the same command."""
        marked = processes_with(self.marks)
        self.sessions |= {session_of(pid) for pid in marked} - {None, os.getsid(0)}
        return [pid for pid in process_ids() if session_of(pid) in self.sessions] if self.sessions else []

    def stop(self):
        found = self.processes()
        for number in (signal.SIGTERM, signal.SIGCONT):
            for pid in found:
                signal_process(pid, number)
        self.agent.loop.after(KILL_GRACE_SECONDS, self.kill)

    def kill(self):
        for _ in range(KILL_ROUNDS):  # one may just have begun another
            found = self.processes()
            if not found:
                break
            for pid in found:
                signal_process(pid, signal.SIGKILL)
        for mark in self.marks:
            self.agent.journal.remove(mark)


class Farewell:
    """Ends, at a shutdown, all that runs in the agent's unit, and lets the agent stay until it has ended.

    The unit has KillMode=process, so that systemd itself would do that only when the mounts are gone: what a command
    writes at its end would come to lie below them.
    """

    SECONDS = 40  # systemd kills the agent after 90, in some distributions after 45

    def __init__(self, agent, unit, asked_at):
        self.agent = agent
        self.unit = unit
        self.deadline = asked_at + self.SECONDS
        for number in (signal.SIGTERM, signal.SIGCONT):
            self.signal(number)
        self.look()

    def others(self):
        found = []
        for folder, _folders, _files in os.walk(self.unit):
            found += read_text(os.path.join(folder, "cgroup.procs"), -1).split()
        return [int(pid) for pid in found if int(pid) != os.getpid()]

    def signal(self, number):
        for pid in self.others():
            signal_process(pid, number)

    def look(self):
        if not self.others():
            self.agent.farewell = None
        elif time.monotonic() < self.deadline:
            self.agent.loop.after(0.1, self.look)
        else:
            self.signal(signal.SIGKILL)
            self.agent.farewell = None


def own_unit():
    """The folder of the control group that systemd has put the agent's unit into, or None."""
    for line in read_text("/proc/self/cgroup").splitlines():
        _number, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        # With the first version of control groups, systemd has a tree of its own.
        if path.endswith("/heyvm-agent.service") and controllers in ("", "name=systemd"):
            for tree in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"):
                if os.path.isdir(tree + path):
                    return tree + path
    return None


def is_shutting_down():
    import subprocess  # costs milliseconds, and only this needs it

    try:
        # Half a second on an emulated guest that is up, four to the shutdown of one that has only just booted.
        asked = subprocess.run(["systemctl", "is-system-running"], stdout=subprocess.PIPE, timeout=20)
    except subprocess.TimeoutExpired:
        return True  # nothing else keeps systemd that busy
    except (OSError, subprocess.SubprocessError):
        return False
    return asked.stdout.strip() == b"stopping"


def cut_arguments(argv, room):
    """The first arguments and their beginnings, as many as fit into so many bytes of JSON."""
    count, length = 32, 256
    while True:
        kept = [part[:length] for part in argv[:count]]
        if length == 1 or len(to_json(kept)) <= room:
            return kept
        count, length = max(1, count // 2), length // 2
