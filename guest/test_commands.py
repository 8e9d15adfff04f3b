"""Commands, and what is left of them."""
import errno
import os
import signal
import time
import unittest

from heyvm_agent import commands, operations, pumps, session, streams, succession, wire


class Descriptors(unittest.TestCase):
    """What the agent holds open, when the system gives it no more or a number again."""

    def setUp(self):
        self.agent = session.Agent()
        self.answers = []
        self.agent.link.send = lambda kind, channel, number, payload: self.answers.append((kind, payload))
        self.pump_class = pumps.OutputPump

    def tearDown(self):
        commands.OutputPump = self.pump_class

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

        commands.OutputPump = NoPump
        self.agent.boot_id = ""
        before = set(os.listdir("/proc/self/fd"))
        self.agent.open(1, wire.to_json({"op": "exec", "argv": ["sleep", "1000"], "cwd": "/"}))
        kinds = [kind for kind, _payload in self.answers]
        self.assertEqual(kinds, [wire.OPENED, wire.ERROR])
        self.assertIn(b"EMFILE", self.answers[1][1])
        pid = wire.from_json(self.answers[0][1])["pid"]
        _pid, status = os.waitpid(pid, 0)
        self.assertEqual(os.WTERMSIG(status), signal.SIGTERM)
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


class Successor(unittest.TestCase):
    def test_entries_that_make_no_sense_are_no_command_and_stop_no_agent(self):
        import tempfile

        own = {"pid": os.getpid(), "ticks": 1, "argv": ["sh"], "started_at": 1.5}
        deep = b"[" * 60000
        endless = b'{"pid": Infinity, "ticks": 1, "argv": [], "started_at": 1}'
        contents = [b"", b'{"pid": 1, "ti', b"[]", b"\xff", b'{"pid": "x"}', deep, endless, wire.to_json(own)]
        with tempfile.TemporaryDirectory() as folder:
            journal = succession.Journal(folder)
            for number, content in enumerate(contents):
                journal.add("%sx-%d" % (succession.DETACHED, number), content)
            journal.add("\udcff", b"")
            os.mkfifo(os.path.join(folder, succession.DETACHED + "fifo"))
            successor = session.Agent(folder)
            successor.take_over()
            self.assertEqual(successor.commands, {})
            self.assertEqual(os.listdir(folder), ["\udcff"])

    def test_without_a_folder_that_it_can_write_to_it_works_all_the_same(self):
        for folder in (None, "/proc/nothing/here"):
            session.Agent(folder).take_over()
            succession.Journal(folder).add("mark", b"")
            succession.Journal(folder).remove("mark")


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
            leaving = session.Agent()
            leaving.leaving = True
            leaving.loop.after_turn = lambda: (emptied(), leaving.end_of_turn())
            with mock.patch.object(succession.Farewell, "SECONDS", seconds):
                leaving.farewell = succession.Farewell(leaving, unit, time.monotonic())
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
        self.assertIsNone(succession.own_unit())


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

            listing = operations.ListCommands(Agent, 1)
            listing.result = sent.append
            listing.start({})
            self.assertLessEqual(len(wire.to_json(sent[0])), wire.MAX_PAYLOAD)
            self.assertEqual(len(sent[0]["commands"]), min(count, 256))

    def test_an_error_fits_into_one_answer_whatever_it_speaks_of(self):
        sent = []

        class Agent:
            class link:
                send = staticmethod(lambda kind, channel, number, payload: sent.append(payload))

            streams = {}

        streams.Stream(Agent, 1).fail(wire.AgentError("invalid", "\U0001f600" * 100000))
        self.assertLessEqual(len(sent[0]), wire.MAX_PAYLOAD)
        self.assertEqual(wire.from_json(sent[0])["code"], "invalid")
