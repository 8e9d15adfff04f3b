"""The link, and what goes over it."""
import binascii
import errno
import os
import unittest

from heyvm_agent import ports, session, wire


class VirtioPort(unittest.TestCase):
    """A virtio-serial port whose driver tells of its host late, as it does when the worker that hears of it is slow."""

    def setUp(self):
        self.agent = session.Agent()
        self.link = self.agent.link
        self.link.port = ports.DevicePort(self.agent.loop, "/dev/null")
        self.link.port.link = self.link
        self.written = []
        self.reads = []
        self.deaf = False
        self.readv, self.write = os.readv, os.write
        os.readv, os.write = self.scripted_read, self.recorded_write

    def tearDown(self):
        os.readv, os.write = self.readv, self.write

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
        body = wire.to_json({"protocol": [wire.PROTOCOL], "session": "0" * 32, "received": 0, "resume": False})
        return wire.PREAMBLE.pack(wire.HOST_MAGIC, b"n" * 16, len(body), binascii.crc32(body)) + body

    def ping(self):
        frame = wire.HEADER.pack(self.link.token, 0, wire.PING, 0, 0, 7, 0)
        return frame + wire.TRAILER.pack(self.link.token)

    def check_greeting(self):
        self.link.in_fd = self.link.out_fd = 9
        self.wake(self.hello(), b"")  # b"": the driver knows of no host yet
        self.deaf = False
        self.wake()
        self.assertIn(wire.AGENT_MAGIC, b"".join(self.written))
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
        carried = wire.from_json(wire.to_json({"name": wire.to_text(name)}))["name"]
        self.assertEqual(wire.to_bytes(carried), name)

    def test_payloads_that_are_no_objects_break_the_protocol(self):
        for payload in (b"", b"[]", b"1", b"{", b"\xff", b"[" * 50000, b'{"a":' * 50000):
            with self.assertRaises(wire.ProtocolError):
                wire.from_json(payload)

    def test_system_errors_carry_their_code(self):
        error = wire.system_error(OSError(errno.ENOSPC, "x"), "writing /a")
        self.assertEqual((error.code, error.details), ("no_space", {"errno": "ENOSPC"}))
