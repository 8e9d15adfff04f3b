"""Tests of what the agent decides by itself; what it does for a host is tested from the host's side (src/agent).

    python3 -m unittest discover -s guest
"""
import ast
import errno
import os
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import agent  # noqa: E402

# Names that came after Python 3.6, by the module that has them: the agent may use them only behind hasattr.
NEWER = {
    "os": {"posix_spawn", "posix_spawnp", "memfd_create", "pidfd_open", "waitstatus_to_exitcode", "eventfd", "splice"},
    "time": {"time_ns", "monotonic_ns", "perf_counter_ns"},
    "signal": {"strsignal", "valid_signals", "pidfd_send_signal", "raise_signal"},
    "socket": {"has_dualstack_ipv6", "create_server", "send_fds", "recv_fds"},
    "binascii": set(),
    "json": set(),
}
GUARDED = {("os", "posix_spawn")}


class Compatibility(unittest.TestCase):
    def setUp(self):
        with open(agent.__file__) as file:
            self.source = file.read()

    def test_the_syntax_is_that_of_python_3_6(self):
        ast.parse(self.source, feature_version=(3, 6))

    def test_no_newer_names_of_the_library_are_used(self):
        used = {
            (node.value.id, node.attr)
            for node in ast.walk(ast.parse(self.source))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        newer = {(module, name) for module, names in NEWER.items() for name in names}
        self.assertEqual(used & newer, GUARDED)
        for method in (".removeprefix(", ".removesuffix(", "capture_output", "math.prod", ".is_relative_to("):
            self.assertNotIn(method, self.source)

    def test_only_cheap_modules_are_imported_at_the_start(self):
        top = [node for node in ast.parse(self.source).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        self.assertFalse(names & {"socket", "threading", "subprocess", "shutil", "ctypes", "pwd", "logging", "argparse"})


class PowerCommand(unittest.TestCase):
    def choose(self, reboot, *paths):
        return agent.power_command(reboot, set(paths).__contains__)

    def test_systemd_is_asked_when_it_runs(self):
        chosen = self.choose(False, "/run/systemd/system", "/sbin/poweroff")
        self.assertEqual(chosen, ["systemctl", "--no-block", "poweroff"])

    def test_openrc_as_init_has_its_own_command(self):
        paths = ("/run/openrc", "/run/initctl", "/sbin/openrc-shutdown", "/sbin/reboot")
        self.assertEqual(self.choose(True, *paths), ["openrc-shutdown", "--reboot", "now"])

    def test_busybox_and_sysvinit_have_theirs(self):
        self.assertEqual(self.choose(True, "/run/openrc", "/sbin/reboot"), ["/sbin/reboot"])
        self.assertEqual(self.choose(False, "/usr/sbin/poweroff"), ["/usr/sbin/poweroff"])

    def test_without_any_the_kernel_is_left(self):
        self.assertIsNone(self.choose(False))


class VirtioPort(unittest.TestCase):
    """A virtio-serial port whose driver tells of its host late, as it does when the worker that hears of it is slow."""

    def setUp(self):
        self.agent = agent.Agent()
        self.link = self.agent.link
        self.link.port = agent.DevicePort(self.agent.loop, "/dev/null")
        self.link.port.link = self.link
        self.written = []
        self.reads = []
        self.deaf = False
        self.readv, self.write = agent.os.readv, agent.os.write
        agent.os.readv, agent.os.write = self.scripted_read, self.recorded_write

    def tearDown(self):
        agent.os.readv, agent.os.write = self.readv, self.write

    def scripted_read(self, _fd, views):
        step = self.reads.pop(0) if self.reads else None
        if step is None:
            raise BlockingIOError
        views[0][: len(step)] = step
        return len(step)

    def recorded_write(self, _fd, data):
        if self.deaf:
            raise BlockingIOError
        self.written.append(bytes(data))
        return len(data)

    def wake(self, *reads):
        self.reads = list(reads)
        self.link.wake()
        self.agent.end_of_turn()

    def hello(self):
        body = agent.to_json({"protocol": [agent.PROTOCOL], "session": "0" * 32, "received": 0, "resume": False})
        return agent.PREAMBLE.pack(agent.HOST_MAGIC, b"n" * 16, len(body), agent.binascii.crc32(body)) + body

    def ping(self):
        frame = agent.HEADER.pack(self.link.token, 0, agent.PING, 0, 0, 7, 0)
        return frame + agent.TRAILER.pack(self.link.token)

    def check_greeting(self):
        self.link.in_fd = self.link.out_fd = 9
        self.wake(self.hello(), b"")  # b"": the driver knows of no host yet
        self.deaf = False
        self.wake()
        self.assertIn(agent.AGENT_MAGIC, b"".join(self.written))
        self.written.clear()
        self.wake(self.ping())
        self.assertEqual(len(self.written), 1, "the session was lost again")
        self.wake(b"")
        self.assertFalse(self.link.synced)

    def test_a_host_that_is_heard_before_it_is_announced_keeps_its_session(self):
        self.check_greeting()

    def test_and_so_when_the_answer_has_to_wait_for_the_announcement(self):
        self.deaf = True
        self.check_greeting()


class Texts(unittest.TestCase):
    def test_file_names_that_are_no_utf_8_survive_the_way_to_the_host_and_back(self):
        name = b"a\xff\xc3\xbc"
        carried = agent.from_json(agent.to_json({"name": agent.to_text(name)}))["name"]
        self.assertEqual(agent.to_bytes(carried), name)

    def test_payloads_that_are_no_objects_break_the_protocol(self):
        for payload in (b"", b"[]", b"1", b"{", b"\xff", b"[" * 50000, b'{"a":' * 50000):
            with self.assertRaises(agent.ProtocolError):
                agent.from_json(payload)

    def test_system_errors_carry_their_code(self):
        error = agent.system_error(OSError(errno.ENOSPC, "x"), "writing /a")
        self.assertEqual((error.code, error.details), ("no_space", {"errno": "ENOSPC"}))


class Descriptors(unittest.TestCase):
    """What the agent holds open, when the system gives it no more or a number again."""

    def setUp(self):
        self.agent = agent.Agent()
        self.answers = []
        self.agent.link.send = lambda kind, channel, number, payload: self.answers.append((kind, payload))
        self.pump_class = agent.OutputPump

    def tearDown(self):
        agent.OutputPump = self.pump_class

    def turn(self):
        """A turn of the loop, of at most a tenth of a second."""
        self.agent.loop.after(0.1, lambda: setattr(self.agent.loop, "running", False))
        self.agent.loop.after_turn = lambda: None
        self.agent.loop.on_signal = lambda: None
        self.agent.loop.running = True
        self.agent.loop.run()

    def test_a_command_whose_outputs_cannot_be_read_is_ended_and_nothing_is_left_open(self):
        class NoPump(self.pump_class):
            def __init__(self, stream, fd, channel, on_end):
                if channel == 2:
                    os.close(fd)
                    raise OSError(errno.EMFILE, "Too many open files")
                super().__init__(stream, fd, channel, on_end)

        agent.OutputPump = NoPump
        self.agent.boot_id = ""
        before = set(os.listdir("/proc/self/fd"))
        self.agent.open(1, agent.to_json({"op": "exec", "argv": ["sleep", "1000"], "cwd": "/"}))
        kinds = [kind for kind, _payload in self.answers]
        self.assertEqual(kinds, [agent.OPENED, agent.ERROR])
        self.assertIn(b"EMFILE", self.answers[1][1])
        pid = agent.from_json(self.answers[0][1])["pid"]
        _pid, status = os.waitpid(pid, 0)
        self.assertEqual(os.WTERMSIG(status), agent.signal.SIGTERM)
        self.assertEqual(set(os.listdir("/proc/self/fd")), before)

    def output(self, number):
        """A pipe whose end for reading has this number; the answer is its other end."""
        out, into = os.pipe()
        os.dup2(out, number)
        os.close(out)
        return into

    def test_an_output_that_was_dropped_is_not_taken_for_a_later_one_with_its_number(self):
        sinks, number = self.agent.sinks, 200
        first = self.output(number)
        os.write(first, b"x")
        sinks.adopt(number)
        sinks.readable(number)  # which pauses now
        os.close(first)
        sinks.drop(number)
        second = self.output(number)
        sinks.adopt(number)
        self.turn()  # in which the pause would have ended
        os.close(second)
        sinks.drop(number)


class SystemFiles(unittest.TestCase):
    def test_what_lies_where_a_new_content_is_written_first_holds_nothing_up(self):
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "hosts")
            elsewhere = os.path.join(folder, "elsewhere")
            agent.write_all(os.open(elsewhere, os.O_WRONLY | os.O_CREAT), b"kept")
            for leave in (os.mkfifo, lambda place: os.symlink(elsewhere, place), lambda place: os.link(elsewhere, place)):
                leave(path + ".heyvm-new")
                agent.replace_file(path, b"new", 0o644)
                self.assertEqual(agent.read_bytes(path), b"new")
                self.assertEqual(agent.read_bytes(elsewhere), b"kept")
            self.assertEqual(sorted(os.listdir(folder)), ["elsewhere", "hosts"])


class Successor(unittest.TestCase):
    def test_entries_that_make_no_sense_are_no_command_and_stop_no_agent(self):
        import tempfile

        own = {"pid": os.getpid(), "ticks": 1, "argv": ["sh"], "started_at": 1.5}
        deep = b"[" * 60000
        endless = b'{"pid": Infinity, "ticks": 1, "argv": [], "started_at": 1}'
        contents = [b"", b'{"pid": 1, "ti', b"[]", b"\xff", b'{"pid": "x"}', deep, endless, agent.to_json(own)]
        with tempfile.TemporaryDirectory() as folder:
            journal = agent.Journal(folder)
            for number, content in enumerate(contents):
                journal.add("%sx-%d" % (agent.DETACHED, number), content)
            journal.add("\udcff", b"")
            os.mkfifo(os.path.join(folder, agent.DETACHED + "fifo"))
            successor = agent.Agent(folder)
            successor.take_over()
            self.assertEqual(successor.commands, {})
            self.assertEqual(os.listdir(folder), ["\udcff"])

    def test_without_a_folder_that_it_can_write_to_it_works_all_the_same(self):
        for folder in (None, "/proc/nothing/here"):
            agent.Agent(folder).take_over()
            agent.Journal(folder).add("mark", b"")
            agent.Journal(folder).remove("mark")


class Shutdown(unittest.TestCase):
    def farewell(self, script, seconds=40):
        """Of a unit with one command; answers its exit status and what it printed at its end."""
        import subprocess
        import tempfile
        from unittest import mock

        command = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
        command.stdout.read(3)  # up: its trap is set
        with tempfile.TemporaryDirectory() as unit:
            group = os.path.join(unit, "below")
            os.mkdir(group)
            with open(os.path.join(unit, "cgroup.procs"), "w") as file:
                file.write("%d\n" % os.getpid())

            def emptied():
                with open(os.path.join(group, "cgroup.procs"), "w") as file:
                    file.write("" if command.poll() is not None else "%d\n" % command.pid)

            emptied()
            leaving = agent.Agent()
            leaving.leaving = True
            leaving.loop.after_turn = lambda: (emptied(), leaving.end_of_turn())
            with mock.patch.object(agent.Farewell, "SECONDS", seconds):
                leaving.farewell = agent.Farewell(leaving, unit, time.monotonic())
            if leaving.farewell is not None:
                leaving.loop.run()
            self.assertIsNone(leaving.farewell)
        said = command.stdout.read()
        command.stdout.close()
        return command.wait(), said

    def test_commands_end_before_the_agent_does_and_may_do_something_at_their_end(self):
        script = "trap 'sleep 0.3; echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done"
        self.assertEqual(self.farewell(script), (7, b"bye\n"))

    def test_one_that_does_not_want_to_end_is_killed(self):
        script = "trap '' TERM; echo up; while :; do sleep 0.05; done"
        self.assertEqual(self.farewell(script, seconds=0.5), (-9, b""))

    def test_an_agent_that_is_no_unit_of_systemd_leaves_all_alone(self):
        self.assertIsNone(agent.own_unit())


class Mounts(unittest.TestCase):
    PLAIN = b"trans=virtio,version=9p2000.L,msize=262144"

    def test_only_a_kernel_that_was_tried_is_mounted_with_writable_shared_maps(self):
        for release in ("5.10.0-46-amd64", "5.15.0-204-generic", "6.1.0-50-amd64", "6.1"):
            self.assertEqual(agent.mount_options(release), self.PLAIN + b",cache=mmap", release)
        # 6.4 gave cache=mmap another meaning; no other was tried.
        for release in ("6.12.117+deb13-amd64", "6.8.0-151-generic", "7.2.13", "6.10.1", "6.11", "6.4.0", "6", "", "odd"):
            self.assertEqual(agent.mount_options(release), self.PLAIN, release)

    def test_a_kernel_that_refuses_the_cache_mode_is_mounted_as_any_other(self):
        import tempfile
        from unittest import mock

        asked = []

        def mount_at(source, target, kind, flags, options):
            asked.append(options)
            return errno.EINVAL if b"cache" in options else 0

        cached = self.PLAIN + b",cache=mmap"
        with tempfile.TemporaryDirectory() as folder:
            with mock.patch.object(agent, "mount_at", mount_at):
                with mock.patch.object(agent, "mount_options", lambda release: cached):
                    agent.mount_9p(b"mount0", os.path.join(os.fsencode(folder), b"w"), False, 5)
        self.assertEqual(asked, [cached, self.PLAIN])


class Answers(unittest.TestCase):
    def test_a_list_of_commands_fits_into_one_answer(self):
        class Command:
            pid = 2 ** 22
            argv = ["\U0001f600" * 1000] * 1000
            started_at = 1e10
            detached = False

        for count in (1, 10, 256, 1000):
            sent = []

            class Agent:
                commands = dict(enumerate([Command] * count))
                forget_ended = staticmethod(lambda: None)

            listing = agent.ListCommands(Agent, 1)
            listing.result = sent.append
            listing.start({})
            self.assertLessEqual(len(agent.to_json(sent[0])), agent.MAX_PAYLOAD)
            self.assertEqual(len(sent[0]["commands"]), min(count, 256))

    def test_an_error_fits_into_one_answer_whatever_it_speaks_of(self):
        sent = []

        class Agent:
            class link:
                send = staticmethod(lambda kind, channel, number, payload: sent.append(payload))

            streams = {}

        agent.Stream(Agent, 1).fail(agent.AgentError("invalid", "\U0001f600" * 100000))
        self.assertLessEqual(len(sent[0]), agent.MAX_PAYLOAD)
        self.assertEqual(agent.from_json(sent[0])["code"], "invalid")


if __name__ == "__main__":
    unittest.main()
