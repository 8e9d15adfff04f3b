#!/usr/bin/env python3
"""The heyvm guest agent: runs commands, moves files and reaches ports for the host, over one pipe.

    agent.py --port /dev/virtio-ports/org.heyvm.agent.0    waits for the device, serves for ever
    agent.py --stdio                                       serves the host at stdin/stdout, leaves at its end
    agent.py --listen-unix PATH                            serves one host at a time at a unix socket

The first and the last take --journal FOLDER after it, where what runs is noted for the agent after one that died.

One file, Python 3.6 or later, standard library only. The protocol is described in docs/agent-protocol.md.

One thread and one epoll loop do everything but the few calls that may block for long (see Agent.slowly). From the
bottom up: Loop, ports, Link (frames that survive a broken pipe), Agent (session and streams), operations.
Modules that only some operations need are imported there, because starting up is slow in an emulated guest.
"""
import binascii
import errno
import fcntl
import heapq
import json
import os
import select
import signal
import stat
import struct
import sys
import termios
import time
from collections import deque

try:
    # Now rather than when it is needed: by then every clone would have to load it.
    import ctypes

    LIBC = ctypes.CDLL(None, use_errno=True)
except (ImportError, OSError):
    LIBC = None

AGENT_VERSION = "1.0.0"
PROTOCOL = 1

# ---------------------------------------------------------------------------------------------------------------
# The wire. Every constant of this section is in docs/agent-protocol.md.

HOST_MAGIC = b"\x00\xffHEYVM-HOST\r\n\x1a\n"
AGENT_MAGIC = b"\x00\xffHEYVM-AGNT\r\n\x1a\n"
PREAMBLE = struct.Struct(">16s16sII")  # magic, nonce, length and CRC-32 of the JSON that follows
ANNOUNCEMENT = PREAMBLE.pack(AGENT_MAGIC, bytes(16), 0, 0)  # whoever believes to have a session: it is gone
MAX_HELLO = 16384

HEADER = struct.Struct(">IIBBHIi")  # token, number, kind, channel, 0, stream, payload length
TRAILER = struct.Struct(">I")  # token
FRAME_OVERHEAD = HEADER.size + TRAILER.size
MAX_PAYLOAD = 65536

OPEN, OPENED, DATA, EOF, CREDIT, CONTROL, RESULT, ERROR, CLOSE = range(1, 10)
ACK, PING, PONG, BYE = 16, 17, 18, 19  # of the link itself, not numbered

WINDOW = 256 * 1024  # credit that each (stream, channel) starts with, in both directions
MAX_STREAMS = 1024
MAX_OPEN = 1024 * 1024
REPLAY_LIMIT = 4 * 1024 * 1024
REPLAY_HARD_LIMIT = 8 * 1024 * 1024
FRAME_COST = 64  # what a frame counts for beside its payload, so that tiny frames are bounded, too
ACK_BYTES = 256 * 1024
ACK_FRAMES = 64

# What this implementation chooses. A virtio port takes 32 KiB a write: a frame of ours is exactly one write.
CHUNK = 32768 - FRAME_OVERHEAD
UNSENT_LIMIT = 256 * 1024  # more than this waits in the commands' own pipes, so that a small answer is never far behind
RECEIVE_BUFFER = 512 * 1024

KILL_GRACE_SECONDS = 2.0
QUIET_SECONDS = 0.2  # after a command's end: how long its outputs, held open by others, must be silent
QUIET_LIMIT_SECONDS = 1.0
MAX_MESSAGE = 4096  # characters of an error; as JSON, each takes at most twelve bytes of the payload
MASK32 = 0xFFFFFFFF


class AgentError(Exception):
    """An operation failed; the host gets code, message and details."""

    def __init__(self, code, message, **details):
        Exception.__init__(self, message)
        self.code = code
        self.details = details


class ProtocolError(Exception):
    """The host broke the protocol: the session is over."""


ERROR_CODES = {
    errno.ENOENT: "not_found",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
    errno.EROFS: "permission_denied",
    errno.EEXIST: "exists",
    errno.ENOTEMPTY: "not_empty",
    errno.ENOTDIR: "not_a_directory",
    errno.EISDIR: "is_a_directory",
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EINVAL: "invalid",
    errno.ENAMETOOLONG: "invalid",
    errno.ELOOP: "invalid",
    errno.ECONNREFUSED: "connection_refused",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ETIMEDOUT: "unreachable",
}


def system_error(error, what):
    """An AgentError for what the system refused: `what` says what was tried, on what."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    name = errno.errorcode.get(error.errno, "")
    return AgentError(ERROR_CODES.get(error.errno, "failed"), "%s: %s" % (what, reason), errno=name)


def failure_of(error, what):
    """What the caller of an operation is told of whatever was raised in it."""
    if isinstance(error, AgentError):
        return error
    if isinstance(error, OSError):
        return system_error(error, "%s failed" % what)
    return AgentError("internal", "%s failed: %r" % (what, error))


def to_bytes(text):
    """The system's bytes for a string of the protocol; file names that are no UTF-8 travel as lone surrogates."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise AgentError("invalid", "a string with characters that no file name can have")


def to_text(data):
    return data.decode("utf-8", "surrogateescape")


def to_json(value):
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def from_json(payload):
    try:
        value = json.loads(payload.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        raise ProtocolError("a payload that is no JSON")
    if not isinstance(value, dict):
        raise ProtocolError("a JSON payload that is no object")
    return value


# Parameters of an operation: absent (or null) is the default, the wrong type an error that names the field.


def param(params, name, kind, default=None):
    value = params.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise AgentError("invalid", "%s must be a %s" % (name, kind.__name__))
    return value


def number_param(params, name, low, high, default=None):
    value = param(params, name, int, default)
    if value is not None and not low <= value <= high:
        raise AgentError("invalid", "%s must be from %d to %d, not %d" % (name, low, high, value))
    return value


def text_param(params, name, default=None):
    value = param(params, name, str, default)
    if value is not None and "\0" in value:
        raise AgentError("invalid", "%s contains a NUL character" % name)
    return value


def path_param(params, name="path"):
    value = text_param(params, name)
    if not value:
        raise AgentError("invalid", "%s is missing" % name)
    if not value.startswith("/"):
        raise AgentError("invalid", "%s must be absolute, not %s" % (name, value))
    return to_bytes(value)


# ---------------------------------------------------------------------------------------------------------------
# The loop


class Loop:
    """epoll, timers, work that is ready, and wake-ups from signals and threads."""

    def __init__(self):
        self.epoll = select.epoll()
        self.handlers = {}
        self.timers = []
        self.timer_count = 0
        self.ready = deque()  # callables to run once each, one round a turn
        self.posted = deque()  # callables from threads
        self.after_turn = None
        self.on_signal = None
        self.on_failure = None
        self.running = True
        self.wake_out, self.wake_in = os.pipe()
        os.set_blocking(self.wake_out, False)
        os.set_blocking(self.wake_in, False)
        self.watch(self.wake_out, select.EPOLLIN, self.woken)
        signal.set_wakeup_fd(self.wake_in)

    def watch(self, fd, events, handler):
        self.epoll.register(fd, events)
        self.handlers[fd] = handler

    def unwatch(self, fd):
        if self.handlers.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def after(self, seconds, callback):
        """Runs the callback once; the answer is a handle for `cancel`."""
        self.timer_count += 1
        timer = [time.monotonic() + seconds, self.timer_count, callback]
        heapq.heappush(self.timers, timer)
        return timer

    @staticmethod
    def cancel(timer):
        if timer is not None:
            timer[2] = None

    def post(self, callback):
        """From another thread: runs the callback in the loop's."""
        self.posted.append(callback)
        try:
            os.write(self.wake_in, b"\0")
        except BlockingIOError:
            pass  # it has been woken more than enough

    def call(self, callback, *arguments):
        """A mistake in one operation's callback is that operation's end, and no other's."""
        try:
            callback(*arguments)
        except Exception as error:
            self.on_failure(callback, error)

    def woken(self, _events):
        try:
            os.read(self.wake_out, 4096)
        except BlockingIOError:
            pass
        self.on_signal()
        while self.posted:
            self.call(self.posted.popleft())

    def timeout(self):
        while self.timers and self.timers[0][2] is None:
            heapq.heappop(self.timers)
        if self.ready:
            return 0
        if not self.timers:
            return -1
        return max(0.0, self.timers[0][0] - time.monotonic())

    def run(self):
        handlers = self.handlers
        while self.running:
            for fd, events in self.epoll.poll(self.timeout(), 64):
                handler = handlers.get(fd)  # gone, if another event of this turn closed it
                if handler is not None:
                    self.call(handler, events)
            if self.timers:
                now = time.monotonic()
                while self.timers and self.timers[0][0] <= now:
                    callback = heapq.heappop(self.timers)[2]
                    if callback is not None:
                        self.call(callback)
            for _ in range(len(self.ready)):
                self.call(self.ready.popleft())
            self.after_turn()


# ---------------------------------------------------------------------------------------------------------------
# Ports: where the pipe comes from. A port has the descriptors of the moment and tells its link when they change.

EDGE = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET


class DevicePort:
    """A virtio-serial port. With no host at the other end, read answers 0 and poll says HUP all the time; the driver
    wakes the wait queue when the host comes and goes, so edge-triggered epoll tells us, and nothing spins."""

    stays_open = True
    ends_with_host = False

    def __init__(self, loop, path):
        self.loop = loop
        self.path = path
        self.fd = -1
        self.is_first = True

    def start(self, link):
        self.link = link
        self.try_open()

    def try_open(self):
        try:
            self.fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            self.loop.after(0.1, self.try_open)  # the device is not there yet, or was unplugged
            return
        self.loop.watch(self.fd, EDGE, lambda _events: self.link.wake())
        # The host may have a session with an agent that died: of that, the port tells it nothing.
        self.link.connected(self.fd, self.fd, ANNOUNCEMENT if self.is_first else b"")
        self.is_first = False

    def hung_up(self):
        """The host has gone: the descriptor stays, the driver will tell when it is back."""

    def broken(self):
        self.loop.unwatch(self.fd)
        os.close(self.fd)
        self.loop.after(0.1, self.try_open)


class StdioPort:
    """Stdin and stdout, moved away so that no command inherits them."""

    stays_open = False
    ends_with_host = True

    def __init__(self, loop):
        self.loop = loop
        self.fds = (fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 10), fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 10))
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)

    def start(self, link):
        self.link = link
        for fd in self.fds:
            os.set_blocking(fd, False)
        self.loop.watch(self.fds[0], select.EPOLLIN | select.EPOLLET, lambda _events: link.wake())
        self.loop.watch(self.fds[1], select.EPOLLOUT | select.EPOLLET, lambda _events: link.wake())
        link.connected(*self.fds)

    def hung_up(self):
        for fd in self.fds:
            self.loop.unwatch(fd)

    broken = hung_up


class UnixPort:
    """A listening unix socket; the newest client is the host."""

    stays_open = False
    ends_with_host = False

    def __init__(self, loop, path):
        import socket

        self.loop = loop
        self.client = None
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        self.listener.bind(path)
        self.listener.listen(8)
        self.listener.setblocking(False)

    def start(self, link):
        self.link = link
        self.loop.watch(self.listener.fileno(), select.EPOLLIN, self.accept)

    def accept(self, _events):
        try:
            client = self.listener.accept()[0]
        except OSError:
            return
        self.hung_up()
        client.setblocking(False)
        self.client = client
        self.loop.watch(client.fileno(), EDGE, lambda _events: self.link.wake())
        self.link.connected(client.fileno(), client.fileno())

    def hung_up(self):
        if self.client is not None:
            self.loop.unwatch(self.client.fileno())
            self.client.close()
            self.client = None

    broken = hung_up


# ---------------------------------------------------------------------------------------------------------------
# The link


class Link:
    """Numbered frames over a port that may break at any byte. What the host has not acknowledged is kept and sent
    again after the next hello. Between a broken connection and a hello the link is out of sync: it writes nothing,
    and looks for nothing but the host's preamble."""

    def __init__(self, agent):
        self.agent = agent
        self.port = None
        self.buffer = bytearray(RECEIVE_BUFFER)
        self.view = memoryview(self.buffer)
        self.start = self.end = 0
        self.in_fd = self.out_fd = -1
        self.synced = False
        self.nonce = None
        self.token = 0
        self.writing = None  # memoryview of what write() has not taken yet
        self.announcement = b""  # goes before all else, once
        self.writable = False
        self.frames_since_hello = 0
        self.greeted = False  # a hello was answered since somebody last asked
        self.reset()

    def reset(self):
        """A new session: both directions count from nothing."""
        self.received = 0
        self.sent = 0
        self.unsent = deque()  # (number, kind, channel, stream, payload)
        self.unsent_bytes = 0
        self.unacked = deque()
        self.unacked_bytes = 0
        self.ack_bytes = self.ack_frames = 0
        self.notices = deque()  # (kind, value or payload): frames without a number, gone when the pipe breaks
        self.overflowing = False

    # Sending

    def send(self, kind, channel, stream, payload=b""):
        self.sent += 1
        self.unsent.append((self.sent, kind, channel, stream, payload))
        self.unsent_bytes += len(payload) + FRAME_COST
        if self.unsent_bytes + self.unacked_bytes > REPLAY_HARD_LIMIT:
            self.overflowing = True  # the agent ends the session at the end of this turn

    def has_room(self):
        """Whether bulk data may be sent now. Answers and credits are sent in any case."""
        return self.unsent_bytes < UNSENT_LIMIT and self.unsent_bytes + self.unacked_bytes < REPLAY_LIMIT

    def flush(self):
        if not self.writable:
            return
        while True:
            if self.writing is None:
                self.writing = self.next_write()
                if self.writing is None:
                    return
            try:
                count = os.write(self.out_fd, self.writing)
            except BlockingIOError:
                self.writable = False
                return
            except OSError:
                self.hung_up()
                return
            self.writing = self.writing[count:] if count < len(self.writing) else None

    def next_write(self):
        """As many frames as fit one write, or None."""
        if not self.synced:
            return None
        parts = []
        size = 0
        if self.ack_bytes >= ACK_BYTES or self.ack_frames >= ACK_FRAMES:
            self.notices.append((ACK, self.received & MASK32))
            self.ack_bytes = self.ack_frames = 0
        while self.notices:
            kind, value = self.notices.popleft()
            payload = value if isinstance(value, bytes) else b""
            size += self.add(parts, 0, kind, 0, 0 if payload else value, payload)
        while self.unsent:
            frame = self.unsent[0]
            cost = len(frame[4])
            if parts and size + cost + FRAME_OVERHEAD > 32768:
                break
            self.unsent.popleft()
            self.unacked.append(frame)
            self.unsent_bytes -= cost + FRAME_COST
            self.unacked_bytes += cost + FRAME_COST
            size += self.add(parts, *frame)
        return memoryview(b"".join(parts)) if parts else None

    def add(self, parts, number, kind, channel, stream, payload):
        parts.append(HEADER.pack(self.token, number & MASK32, kind, channel, 0, stream, len(payload)))
        if payload:
            parts.append(payload)
        parts.append(TRAILER.pack(self.token))
        return FRAME_OVERHEAD + len(payload)

    def acknowledged(self, number32):
        """The host has all frames up to this number (its low 32 bits)."""
        behind = (self.sent - number32) & MASK32
        number = self.sent - behind
        unacked = self.unacked
        if behind > len(self.unsent) + len(unacked) or (self.unsent and number >= self.unsent[0][0]):
            raise ProtocolError("an acknowledgement of frames that were never sent")
        while unacked and unacked[0][0] <= number:
            self.unacked_bytes -= len(unacked.popleft()[4]) + FRAME_COST

    # Receiving

    def connected(self, in_fd, out_fd, announcement=b""):
        self.in_fd = in_fd
        self.out_fd = out_fd
        self.lose_sync()
        self.start = self.end = 0
        self.announcement = announcement
        self.wake()
        if self.announcement and self.writable:
            self.writing = memoryview(self.announcement)
            self.flush()
        self.announcement = b""  # without a host there is nobody to tell

    def wake(self):
        """The port may be readable or writable."""
        self.writable = True
        self.receive()

    def hung_up(self):
        self.lose_sync()
        self.start = self.end = 0
        self.writable = False
        if not self.port.stays_open:
            self.in_fd = self.out_fd = -1
        self.port.hung_up()
        self.agent.host_gone()

    def lose_sync(self):
        self.synced = False
        self.writing = None
        self.notices.clear()

    def receive(self):
        """Reads until nothing is left, because an edge is told once; after a full buffer others have their turn."""
        total = 0
        while True:
            if self.end == RECEIVE_BUFFER:
                self.buffer[: self.end - self.start] = self.buffer[self.start : self.end]
                self.end -= self.start
                self.start = 0
            try:
                count = os.readv(self.in_fd, [self.view[self.end :]])
            except BlockingIOError:
                break
            except OSError as error:
                self.lose_sync()
                if error.errno in (errno.ENODEV, errno.EBADF):
                    self.port.broken()
                else:
                    self.hung_up()
                return
            if count == 0:
                # A virtio port gives a new host's first bytes before the driver hears that it is there, and until then
                # there is "no host" behind them. So a hello among them is answered to who has come, not to who has gone.
                self.greeted = False
                self.parse()
                if not (self.greeted and self.port.stays_open):
                    self.hung_up()
                return
            self.end += count
            total += count
            if total >= RECEIVE_BUFFER // 2:
                self.agent.loop.ready.append(self.receive_more)
                break
        self.parse()

    def receive_more(self):
        if self.in_fd >= 0:
            self.receive()  # what was left when others had their turn

    def parse(self):
        while self.end > self.start:
            if not (self.take_frame() if self.synced else self.take_hello()):
                break
        if self.start == self.end:
            self.start = self.end = 0

    def take_frame(self):
        """Handles one frame; False when more bytes are needed."""
        available = self.end - self.start
        if available < HEADER.size:
            return False
        token, number, kind, channel, zero, stream, length = HEADER.unpack_from(self.buffer, self.start)
        if token != self.token or zero or not 0 <= length <= MAX_PAYLOAD:
            self.lose_sync()
            return True
        total = length + FRAME_OVERHEAD
        if available < total:
            return False
        body = self.start + HEADER.size
        if TRAILER.unpack_from(self.buffer, body + length)[0] != token:
            self.lose_sync()
            return True
        payload = bytes(self.view[body : body + length])
        self.start += total
        self.frames_since_hello += 1
        try:
            if kind >= ACK:
                self.notice(kind, stream, payload)
                return True
            ahead = (number - self.received - 1) & MASK32
            if ahead == 0:
                self.received += 1
                self.ack_bytes += total
                self.ack_frames += 1
                self.agent.frame(kind, channel, stream, payload)
            elif ahead < 0x80000000:
                self.lose_sync()  # frames are missing: the host will come back and send them
        except ProtocolError as error:
            self.agent.end_session(str(error))
        return True

    def notice(self, kind, value, payload):
        if kind == ACK:
            self.acknowledged(value)
        elif kind == PING:
            if len(self.notices) < 16:
                self.notices.append((PONG, value))
        elif kind == BYE:
            self.agent.end_session(None)
        elif kind != PONG:
            raise ProtocolError("a frame of unknown kind %d" % kind)

    def take_hello(self):
        """Looks for the host's preamble; False when more bytes are needed."""
        at = self.buffer.find(HOST_MAGIC, self.start, self.end)
        if at < 0:
            self.start = max(self.start, self.end - len(HOST_MAGIC) + 1)
            return False
        self.start = at
        if self.end - at < PREAMBLE.size:
            return False
        _magic, nonce, length, crc = PREAMBLE.unpack_from(self.buffer, at)
        if length > MAX_HELLO:
            self.start += 1
            return True
        if self.end - at < PREAMBLE.size + length:
            return False
        body = bytes(self.view[at + PREAMBLE.size : at + PREAMBLE.size + length])
        if binascii.crc32(body) != crc:
            self.start += 1
            return True
        self.start = at + PREAMBLE.size + length
        try:
            self.hello(nonce, from_json(body))
        except ProtocolError:
            pass  # the host hears nothing and tries again
        return True

    def hello(self, nonce, hello):
        if nonce == self.nonce and self.frames_since_hello:
            self.synced = True  # a late copy of a hello that was answered, after padding that was taken for a frame
            return
        reply, accepted = self.agent.hello(hello)
        if accepted and reply["resumed"]:
            received = hello.get("received")
            if not isinstance(received, int) or not self.can_resume(received):
                reply, accepted = self.agent.lost("frames since number %s are gone" % received), False
            else:
                self.resume(received)
        reply["received"] = self.received
        body = to_json(reply)
        self.nonce = nonce
        self.token = struct.unpack_from(">I", nonce)[0]
        self.frames_since_hello = 0
        self.synced = accepted
        self.greeted = True
        preamble = PREAMBLE.pack(AGENT_MAGIC, nonce, len(body), binascii.crc32(body))
        # It may be an old hello that the agent before has answered.
        self.writing = memoryview(self.announcement + preamble + body)
        self.announcement = b""
        self.notices.clear()
        self.flush()

    def can_resume(self, received):
        first_kept = self.unacked[0][0] if self.unacked else self.unsent[0][0] if self.unsent else self.sent + 1
        return first_kept - 1 <= received <= self.sent

    def resume(self, received):
        """Puts back what the host says it has not received."""
        while self.unacked:
            frame = self.unacked.pop()
            self.unsent.appendleft(frame)
            self.unsent_bytes += len(frame[4]) + FRAME_COST
        while self.unsent and self.unsent[0][0] <= received:
            self.unsent_bytes -= len(self.unsent.popleft()[4]) + FRAME_COST
        self.unacked_bytes = 0


# ---------------------------------------------------------------------------------------------------------------
# Session and streams


class Agent:
    """One host session at a time: its streams, and the commands that were started in it or before it."""

    def __init__(self, journal=None):
        self.loop = Loop()
        self.loop.after_turn = self.end_of_turn
        self.loop.on_signal = self.signalled
        self.loop.on_failure = self.failed
        self.link = Link(self)
        self.session = None
        self.streams = {}
        self.last_stream = 0
        self.open_parts = []
        self.starved = deque()  # callables of those who wait for room in the link
        self.children = {}  # pid -> object with will_reap() and ended(code, signal)
        self.commands = {}  # pid -> Exec or Survivor
        self.command_count = 0
        self.journal = Journal(journal)
        self.sinks = Sinks(self.loop)
        self.leaving = False
        self.terminated = False
        self.farewell = None
        self.account = None
        self.start_id = os.urandom(8).hex()
        # Read once: a clone's first answer waits for each file.
        self.os_release = read_os_release()
        self.boot_id = read_text(BOOT_ID).strip()

    def run(self, port):
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler of ours: the wake-up descriptor needs one
        signal.signal(signal.SIGTERM, self.asked_to_leave)
        signal.signal(signal.SIGINT, self.asked_to_leave)
        self.link.port = port
        self.take_over()
        port.start(self.link)
        self.loop.run()

    def end_of_turn(self):
        link = self.link
        if link.overflowing:
            self.end_session("too many frames that were not acknowledged")
        link.flush()
        while self.starved and link.has_room():
            self.loop.call(self.starved.popleft())
            if not link.has_room():
                link.flush()
        if self.leaving and self.farewell is None and all(command.detached for command in self.commands.values()):
            self.loop.running = False

    def asked_to_leave(self, *_):
        """A signal handler, in the middle of anything: the loop does the work."""
        self.terminated = True

    def signalled(self):
        self.reap()
        if self.terminated and not self.leaving:
            asked_at = time.monotonic()
            self.leave()
            unit = own_unit()
            if unit is not None and is_shutting_down():
                self.farewell = Farewell(self, unit, asked_at)

    def leave(self):
        self.leaving = True
        self.end_session(None)

    def host_gone(self):
        if self.link.port.ends_with_host:
            self.leave()

    def take_over(self):
        """After an agent that died: ends what it can no longer answer, and knows the detached commands again."""
        lost = []
        for mark in self.journal.marks():
            if not mark.startswith(DETACHED):
                lost.append(mark)
                continue
            survivor = find_survivor(mark, self.journal.read(mark))
            if survivor is None:
                self.journal.remove(mark)
            else:
                self.commands[survivor.pid] = survivor
        if lost:
            Remains(self, lost).stop()

    def forget_ended(self):
        """Nobody tells us when another agent's command ends."""
        for command in list(self.commands.values()):
            if isinstance(command, Survivor) and not command.is_running():
                del self.commands[command.pid]
                self.journal.remove(command.mark)

    def own_account(self):
        if self.account is None:
            self.account = find_account(str(os.getuid()))
        return self.account

    # Hello

    def hello(self, hello):
        """Answers (reply, whether the session goes on)."""
        session = hello.get("session")
        versions = hello.get("protocol")
        if not isinstance(session, str) or not 16 <= len(session) <= 64:
            raise ProtocolError("a hello without a session")
        if not isinstance(versions, list) or PROTOCOL not in versions:
            error = {"code": "unsupported_protocol", "message": "this agent speaks protocol %d" % PROTOCOL}
            return {"protocol": PROTOCOL, "error": error}, False
        if session == self.session:
            return self.introduction(True), True
        if hello.get("resume"):
            return self.lost("it is not known here, the agent may have been restarted"), False
        self.end_session(None)
        self.session = session
        self.link.reset()
        return self.introduction(False), True

    @staticmethod
    def lost(why):
        return {"protocol": PROTOCOL, "error": {"code": "session_lost", "message": "the session is lost: %s" % why}}

    def introduction(self, resumed):
        name = os.uname()
        return {
            "protocol": PROTOCOL,
            "resumed": resumed,
            "agent_version": AGENT_VERSION,
            "agent_start": self.start_id,
            "kernel": "%s %s" % (name.sysname, name.release),
            "hostname": name.nodename,
            "os_release": self.os_release,
            "boot_id": self.boot_id,
            "limits": {"max_payload": MAX_PAYLOAD, "max_streams": MAX_STREAMS, "window": WINDOW},
        }

    def end_session(self, complaint):
        """Ends what the session began, except detached commands. A complaint is told to the host."""
        if self.session is None:
            return
        if complaint is not None and self.link.synced:
            self.link.notices.append((BYE, to_json({"code": "protocol_error", "message": complaint})))
            self.link.unsent.clear()
            self.link.flush()
        self.session = None
        self.link.lose_sync()
        self.link.reset()
        self.last_stream = 0
        self.open_parts = []
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            stream.over = True
            stream.abandon()

    # Frames

    def frame(self, kind, channel, number, payload):
        if kind == OPEN:
            self.take_open(channel, number, payload)
            return
        stream = self.streams.get(number)
        if stream is None:
            if not 0 < number <= self.last_stream:
                raise ProtocolError("a frame for stream %d, which was never opened" % number)
            return  # it has ended; the host did not know yet
        try:
            self.stream_frame(stream, kind, channel, payload)
        except ProtocolError:
            raise
        except Exception as error:
            stream.break_off(error)

    @staticmethod
    def stream_frame(stream, kind, channel, payload):
        if kind == DATA:
            stream.receive(channel, payload)
        elif kind == EOF:
            stream.receive_end(channel)
        elif kind == CREDIT:
            if len(payload) != 4:
                raise ProtocolError("a credit of %d bytes" % len(payload))
            stream.add_credit(channel, struct.unpack(">I", payload)[0])
        elif kind == CONTROL:
            message = from_json(payload)
            try:
                stream.control(message)
            except (AgentError, OSError):
                pass  # a control has no answer
        elif kind == CLOSE:
            stream.close()
        else:
            raise ProtocolError("a frame of unknown kind %d" % kind)

    def take_open(self, more, number, payload):
        """The parts of a large OPEN follow each other; channel 1 says that another one comes."""
        self.open_parts.append(payload)
        if sum(map(len, self.open_parts)) > MAX_OPEN:
            raise ProtocolError("an operation with more than %d bytes of parameters" % MAX_OPEN)
        if not more:
            payload = b"".join(self.open_parts)
            self.open_parts = []
            self.open(number, payload)

    def open(self, number, payload):
        if number <= self.last_stream:
            raise ProtocolError("stream %d was opened after stream %d" % (number, self.last_stream))
        self.last_stream = number
        params = from_json(payload)
        operation = params.get("op")
        kind = OPERATIONS.get(operation) if isinstance(operation, str) else None
        stream = (kind or Stream)(self, number)
        self.streams[number] = stream
        try:
            if len(self.streams) > MAX_STREAMS:
                raise AgentError("limit", "too many operations at once: the limit is %d" % MAX_STREAMS)
            if kind is None:
                raise AgentError("unsupported", "this agent (%s) has no operation %s" % (AGENT_VERSION, operation))
            stream.start(params)
        except Exception as error:  # also a mistake of ours: this operation fails, the others go on
            stream.break_off(error)

    # Children and slow calls

    def reap(self):
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            child = self.children.pop(found.si_pid, None)
            if child is not None:
                self.loop.call(child.will_reap)
            _pid, status = os.waitpid(found.si_pid, 0)
            if child is None:
                continue  # an orphan that came to us, when we are the guest's init
            if os.WIFSIGNALED(status):
                self.loop.call(child.ended, None, os.WTERMSIG(status))
            else:
                self.loop.call(child.ended, os.WEXITSTATUS(status), None)

    def slowly(self, stream, work):
        """Runs `work` in a thread and answers the stream with what it returns or raises."""
        self.beside(stream, work, stream.result)

    def beside(self, stream, work, then):
        """Runs `work` in a thread, and then in the loop `then` with what it returned; whatever it raises fails the stream."""
        import threading

        def run():
            try:
                value = work()
                self.loop.post(lambda: self.guarded(stream, then, value))
            except Exception as error:
                failure = failure_of(error, stream.name)
                self.loop.post(lambda: stream.fail(failure))

        threading.Thread(target=run, daemon=True).start()

    @staticmethod
    def guarded(stream, callback, *arguments):
        """For callbacks that do not tell by themselves whose they are."""
        try:
            callback(*arguments)
        except Exception as error:
            stream.break_off(error)

    @staticmethod
    def failed(callback, error):
        """Fails the operation that the callback is of; what is of none is worth a new agent."""
        owner = getattr(callback, "__self__", None)
        stream = getattr(owner, "stream", owner)
        if not isinstance(stream, Stream):
            raise error
        stream.break_off(error)


class Stream:
    """One operation of the host's: OPEN, then data, credits and controls both ways, then one RESULT or ERROR."""

    name = "operation"
    inputs = ()  # channels on which this operation takes data

    def __init__(self, agent, number):
        self.agent = agent
        self.number = number
        self.over = False
        self.credit = {}  # channel -> bytes that we may send
        self.window = {channel: WINDOW for channel in self.inputs}  # channel -> bytes that the host may send
        self.ungranted = 0

    # What operations implement

    def start(self, params):
        raise NotImplementedError

    def data(self, channel, payload):
        """Input arrived; the operation calls `grant` when it has digested it."""

    def end_of_input(self, channel):
        pass

    def credited(self, channel):
        """More output may be sent on the channel."""

    def control(self, message):
        pass

    def abandon(self):
        """The session is over, or the host has cancelled: free what is held. No answer can be sent afterwards."""

    def close(self):
        self.break_off(AgentError("aborted", "%s was cancelled" % self.name))

    def break_off(self, error):
        self.fail(failure_of(error, self.name))
        self.abandon()

    # What they use

    def send(self, kind, channel=0, payload=b""):
        if not self.over:
            self.agent.link.send(kind, channel, self.number, payload)

    def send_data(self, channel, payload):
        self.credit[channel] = self.credit.get(channel, WINDOW) - len(payload)
        self.send(DATA, channel, payload)

    def send_room(self, channel):
        """How many bytes the host's credit allows on the channel now, at most a chunk."""
        return min(CHUNK, self.credit.get(channel, WINDOW))

    def opened(self, information):
        self.send(OPENED, 0, to_json(information))

    def result(self, value=None):
        self.send(RESULT, 0, to_json({} if value is None else value))
        self.finish()

    def fail(self, error):
        content = {"code": error.code, "message": str(error)[:MAX_MESSAGE], "details": error.details}
        self.send(ERROR, 0, to_json(content))
        self.finish()

    def finish(self):
        if not self.over:
            self.over = True
            self.agent.streams.pop(self.number, None)

    def grant(self, count):
        """Lets the host send as many bytes again; only input channel 0 exists in all operations."""
        self.ungranted += count
        if self.ungranted >= WINDOW // 4 and 0 in self.window:
            self.window[0] += self.ungranted
            self.send(CREDIT, 0, struct.pack(">I", self.ungranted))
            self.ungranted = 0

    # What the agent calls

    def receive(self, channel, payload):
        left = self.window.get(channel)
        if left is None:
            raise ProtocolError("data on channel %d, which takes none or has ended" % channel)
        if len(payload) > left:
            raise ProtocolError("%d bytes of data with credit for %d" % (len(payload), left))
        self.window[channel] = left - len(payload)
        if payload:  # nothing must not pile up
            self.data(channel, payload)

    def receive_end(self, channel):
        if channel not in self.window:
            raise ProtocolError("an end of channel %d, which takes no data or has ended" % channel)
        del self.window[channel]
        self.end_of_input(channel)

    def add_credit(self, channel, count):
        total = self.credit.get(channel, WINDOW) + count
        if channel > 2 or total > 0x7FFFFFFF:
            raise ProtocolError("credit beyond all bounds on channel %d" % channel)
        self.credit[channel] = total
        self.credited(channel)


class OutputPump:
    """Carries what a descriptor yields to a channel, as far as credit and link allow."""

    def __init__(self, stream, fd, channel, on_end):
        self.stream = stream
        self.loop = stream.agent.loop
        self.fd = fd
        self.channel = channel
        self.on_end = on_end
        self.watching = False
        self.starving = False
        self.owed = 0  # bytes that were in the pipe when the command ended: they are delivered in any case
        self.last_read = 0.0
        try:
            os.set_blocking(fd, False)
            self.update()
        except OSError:
            os.close(fd)  # the descriptor is ours, also when it cannot be watched
            raise

    def update(self):
        """Watches the descriptor if, and only if, its data could be sent."""
        if self.fd < 0:
            return
        wanted = self.stream.send_room(self.channel) > 0
        if wanted and not self.stream.agent.link.has_room():
            wanted = False
            if not self.starving:
                self.starving = True
                self.stream.agent.starved.append(self.fed)
        if wanted != self.watching:
            self.watching = wanted
            if wanted:
                self.loop.watch(self.fd, select.EPOLLIN, self.readable)
            else:
                self.loop.unwatch(self.fd)

    def fed(self):
        self.starving = False
        self.update()

    def readable(self, _events):
        room = self.stream.send_room(self.channel)
        if room <= 0 or not self.stream.agent.link.has_room():
            self.update()
            return
        try:
            data = os.read(self.fd, room)
        except BlockingIOError:
            return
        except OSError as error:
            # A terminal whose last user has gone says EIO.
            self.end(None if error.errno == errno.EIO else error)
            return
        if not data:
            self.end(None)
            return
        self.owed -= len(data)
        self.last_read = time.monotonic()
        self.stream.send_data(self.channel, data)
        if room == len(data) or not self.stream.agent.link.has_room():
            self.update()

    def end(self, error):
        self.close()
        self.on_end(self, error)

    def release(self):
        """Stops watching and hands the descriptor over to the caller."""
        fd, self.fd = self.fd, -1
        if self.watching:
            self.watching = False
            self.loop.unwatch(fd)
        return fd

    def close(self):
        if self.fd >= 0:
            os.close(self.release())


class InputWriter:
    """Carries input data to a descriptor; grants credit for what was taken. `on_end` runs when all of it was written
    after the host's end of input. When nobody reads any more, input is swallowed."""

    def __init__(self, stream, fd, on_end):
        self.stream = stream
        self.loop = stream.agent.loop
        self.fd = fd
        self.on_end = on_end
        self.waiting = deque()
        self.ending = False
        self.watching = False
        os.set_blocking(fd, False)

    def write(self, payload):
        if self.fd < 0:
            self.stream.grant(len(payload))
            return
        self.waiting.append(memoryview(payload))
        if not self.watching:
            self.pump()

    def end(self):
        self.ending = True
        if not self.watching:
            self.pump()

    def pump(self, _events=0):
        while self.waiting and self.fd >= 0:
            data = self.waiting[0]
            try:
                count = os.write(self.fd, data)
            except BlockingIOError:
                if not self.watching:
                    self.watching = True
                    self.loop.watch(self.fd, select.EPOLLOUT, self.pump)
                return
            except OSError:
                self.close()
                break
            if count == len(data):
                self.waiting.popleft()
            else:
                self.waiting[0] = data[count:]
            self.stream.grant(count)
        if self.watching:
            self.watching = False
            self.loop.unwatch(self.fd)
        if self.ending and self.fd >= 0:
            self.on_end()

    def close(self):
        if self.fd >= 0:
            if self.watching:
                self.watching = False
                self.loop.unwatch(self.fd)
            os.close(self.fd)
            self.fd = -1
        left = sum(len(data) for data in self.waiting)
        self.waiting.clear()
        if left:
            self.stream.grant(left)


class Sinks:
    """Outputs of background processes that outlive their command: read slowly and thrown away, because closing them
    would kill the process at its next line."""

    LIMIT = 128
    PAUSE_SECONDS = 0.05

    def __init__(self, loop):
        self.loop = loop
        self.fds = deque()
        self.pauses = {}  # descriptor -> timer after which it is read again

    def adopt(self, fd):
        self.fds.append(fd)
        if len(self.fds) > self.LIMIT:
            self.drop(self.fds[0])
        self.watch(fd)

    def watch(self, fd):
        self.pauses.pop(fd, None)
        try:
            self.loop.watch(fd, select.EPOLLIN, lambda _events: self.readable(fd))
        except OSError:
            self.drop(fd)  # the kernel watches no more of them

    def readable(self, fd):
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(fd)
            return
        self.loop.unwatch(fd)
        self.pauses[fd] = self.loop.after(self.PAUSE_SECONDS, lambda: self.watch(fd))

    def drop(self, fd):
        self.fds.remove(fd)
        self.loop.cancel(self.pauses.pop(fd, None))  # the number may be another output's by then
        self.loop.unwatch(fd)
        os.close(fd)


# ---------------------------------------------------------------------------------------------------------------
# Commands

# In the environment of each command, with a value of its own: what leaves its session is still known by it.
COMMAND_VARIABLE = b"HEYVM_COMMAND"
DETACHED = "detached-"  # so begins the value of a command that goes on without its session and its agent
KILL_ROUNDS = 5

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Account:
    """A user as commands need it."""

    def __init__(self, entry):
        self.name = entry.pw_name
        self.uid = entry.pw_uid
        self.gid = entry.pw_gid
        self.home = entry.pw_dir or "/"
        self.shell = entry.pw_shell or "/bin/sh"

    def groups(self):
        return os.getgrouplist(self.name, self.gid)


def find_account(user):
    """The account of a name or a numeric id. An id that has no name is good enough for a command."""
    import pwd

    try:
        return Account(pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user))
    except (KeyError, OverflowError, ValueError):
        if user.isdecimal() and int(user) <= 0xFFFFFFFE:
            number = int(user)
            return Account(pwd.struct_passwd(("user%d" % number, "x", number, number, "", "/", "/bin/sh")))
        raise not_startable("user_not_found", "there is no user %s" % user)


def not_startable(reason, message, **details):
    return AgentError("not_startable", message, reason=reason, **details)


def command_environment(account, terminal, wanted):
    environment = {
        "PATH": DEFAULT_PATH,
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell,
        "LANG": "C.UTF-8",
    }
    if terminal:
        environment["TERM"] = "xterm-256color"
    for name, value in wanted.items():
        if not name or "=" in name or "\0" in name or not isinstance(value, str) or "\0" in value:
            raise AgentError("invalid", "env %s is no variable that a command can have" % name)
        environment[name] = value
    return {to_bytes(name): to_bytes(value) for name, value in environment.items()}


def enter_directory(cwd):
    """The agent's own working directory is a command's for the moment of its start."""
    try:
        os.chdir(cwd)
    except OSError as error:
        raise cwd_error(error.errno, cwd)


def cwd_error(number, cwd):
    reason = {errno.ENOENT: "cwd_not_found", errno.ENOTDIR: "cwd_not_a_directory"}.get(number, "cwd_not_permitted")
    return not_startable(reason, "working directory %s: %s" % (to_text(cwd), os.strerror(number)))


def find_program(name, path):
    """Absolute or relative path of a program, looked up from the command's own working directory."""
    if b"/" in name:
        return name
    found = None
    for folder in path.split(b":"):
        candidate = os.path.join(folder or b".", name)
        if os.path.isfile(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            found = found or candidate
    if found is None:
        raise not_startable("program_not_found", "there is no program %s in %s" % (to_text(name), to_text(path)))
    return found


def exec_error(number, program):
    shown = to_text(program)
    if number in (errno.ENOENT, errno.ENOTDIR):
        if os.path.exists(program):
            return not_startable("interpreter_not_found", "%s names an interpreter that is not there" % shown)
        return not_startable("program_not_found", "there is no program %s" % shown)
    if number in (errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.EISDIR):
        return not_startable("not_executable", "%s cannot be executed: %s" % (shown, os.strerror(number)))
    if number == errno.E2BIG:
        return not_startable("arguments_too_long", "the arguments and environment of %s are too long" % shown)
    return not_startable("no_resources", "%s cannot be started: %s" % (shown, os.strerror(number)))


IGNORED_HERE = [signal.SIGPIPE, signal.SIGXFSZ]  # by Python; commands get the defaults back


def spawn(program, argv, environment, cwd, fds, account=None, terminal=False):
    """Starts a program as leader of its own session. With an account, as that user; with a terminal, fds[0] is its
    controlling one."""
    if account is None and not terminal and hasattr(os, "posix_spawn"):
        actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(fds)]
        try:
            return os.posix_spawn(
                program, argv, environment, file_actions=actions, setsid=True, setsigdef=IGNORED_HERE
            )
        except NotImplementedError:
            pass  # a libc without POSIX_SPAWN_SETSID
        except OSError as error:
            raise exec_error(error.errno, program)
    return fork_and_exec(program, argv, environment, cwd, fds, account, terminal)


def fork_and_exec(program, argv, environment, cwd, fds, account, terminal):
    groups = account.groups() if account else []
    report_out, report_in = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(report_out)
        os.close(report_in)
        raise exec_error(error.errno, program)
    if pid == 0:
        stage = b"setup"
        try:
            signal.set_wakeup_fd(-1)
            for number in [signal.SIGCHLD, signal.SIGTERM, signal.SIGINT] + IGNORED_HERE:
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            if terminal:
                fcntl.ioctl(fds[0], termios.TIOCSCTTY, 0)
            for target, fd in enumerate(fds):
                os.dup2(fd, target)
            if account:
                stage = b"user"
                os.setgroups(groups)
                os.setgid(account.gid)
                os.setuid(account.uid)
                stage = b"cwd"
                os.chdir(cwd)
            stage = b"exec"
            os.execve(program, argv, environment)
        except OSError as error:
            os.write(report_in, b"%s %d" % (stage, error.errno))
        finally:
            os._exit(127)
    os.close(report_in)
    report = os.read(report_out, 64)
    os.close(report_out)
    if not report:
        return pid
    os.waitpid(pid, 0)
    stage, number = report.split()
    number = int(number)
    if stage == b"cwd":
        raise cwd_error(number, cwd)
    if stage == b"user":
        raise not_startable("user_not_permitted", "becoming %s: %s" % (account.name, os.strerror(number)))
    raise exec_error(number, program)


def process_ids():
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []  # it is not mounted, and nothing else tells


def process_status(pid):
    """What the kernel says of a process, from its state on, or None."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return None


def session_members(leader):
    """Process groups of the session that a command leads: its own, and those that a shell with job control made."""
    groups = {leader}
    for pid in process_ids():
        fields = process_status(pid)
        if fields is not None and int(fields[3]) == leader:
            groups.add(int(fields[2]))
    return groups


def processes_with(marks):
    """Processes whose environment began with one of the marks: whoever they run as, and whoever their parents are now."""
    wanted = {COMMAND_VARIABLE + b"=" + to_bytes(mark) for mark in marks}
    found = []
    for pid in process_ids():
        try:
            with open("/proc/%d/environ" % pid, "rb") as file:
                if not wanted.isdisjoint(file.read().split(b"\0")):
                    found.append(pid)
        except OSError:
            continue  # it has ended, or is another user's
    return found


def group_of(pid):
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def session_of(pid):
    try:
        return os.getsid(pid)
    except OSError:
        return None


def signal_process(pid, number):
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def signal_group(group, number):
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def find_signal(name):
    number = getattr(signal, name, None) if name.startswith("SIG") and not name.startswith("SIG_") else None
    if number is None:
        raise AgentError("invalid", "there is no signal %s" % name)
    return int(number)


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return "SIG%d" % number


class Exec(Stream):
    """A command. Channel 0 is its stdin, 1 and 2 its outputs; a terminal uses 0 and 1."""

    name = "exec"
    inputs = (0,)
    pid = 0

    def start(self, params):
        argv = param(params, "argv", list, [])
        if not argv or not all(isinstance(part, str) and "\0" not in part for part in argv) or not argv[0]:
            raise AgentError("invalid", "argv must be a list of strings, the first of them the program")
        self.argv = argv
        self.started_at = time.time()
        self.ours = []  # our ends of the command's descriptors, as long as nothing has taken them
        self.pumps = []
        self.writer = None
        self.master = -1
        self.exit = None
        self.ended_at = 0.0
        self.timed_out = False
        self.stopping = False
        self.done = False
        self.quiet_timer = self.timeout_timer = None
        timeout_ms = number_param(params, "timeout_ms", 1, 1 << 53)
        terminal = param(params, "terminal", dict)
        files = param(params, "detached", dict)
        self.detached = files is not None
        user = text_param(params, "user")
        account = self.agent.own_account() if user is None else find_account(user)
        environment = command_environment(account, terminal is not None, param(params, "env", dict, {}))
        # Not the stream's number: every session counts from 1, and a detached command outlives its own.
        self.agent.command_count += 1
        mark = "%s%s-%d" % (DETACHED if self.detached else "", self.agent.start_id, self.agent.command_count)
        environment[COMMAND_VARIABLE] = mark.encode()
        # What leaves a terminal's session is meant to outlive it, as after a logout.
        self.mark = mark if terminal is None else None
        cwd = path_param(params, "cwd") if params.get("cwd") is not None else to_bytes(account.home)
        if params.get("cwd") is None and not os.path.isdir(cwd):
            cwd = b"/"
        theirs = []
        try:
            if terminal is not None:
                self.open_terminal(terminal, theirs)
            elif files is not None:
                self.open_files(files, theirs)
            else:
                self.open_pipes(param(params, "stdin", bool, True), theirs)
            switching = user is not None and account.uid != os.getuid()
            try:
                if not switching:
                    enter_directory(cwd)
                elif not os.path.isdir(cwd):
                    raise cwd_error(errno.ENOTDIR if os.path.exists(cwd) else errno.ENOENT, cwd)
                program = find_program(to_bytes(argv[0]), environment.get(b"PATH", b""))
                self.pid = spawn(
                    program,
                    [to_bytes(part) for part in argv],
                    environment,
                    cwd,
                    theirs,
                    account if switching else None,
                    terminal is not None,
                )
            finally:
                os.chdir("/")  # no mount is to be busy because of us
        except BaseException:
            self.release()
            raise
        finally:
            for fd in set(theirs):
                os.close(fd)
        self.agent.children[self.pid] = self
        self.agent.forget_ended()  # one that ended may have had this process id
        self.agent.commands[self.pid] = self
        if self.mark is not None:
            self.agent.journal.add(self.mark, self.journal_entry() if self.detached else b"")
        self.opened({"pid": self.pid})
        self.connect(terminal is not None)
        if timeout_ms is not None:
            self.timeout_timer = self.agent.loop.after(timeout_ms / 1000.0, self.time_out)

    def journal_entry(self):
        """For `find_survivor`."""
        fields = process_status(self.pid)
        return to_json(
            {
                "pid": self.pid,
                "ticks": int(fields[START_TICKS]) if fields else 0,
                "argv": cut_arguments(self.argv, MAX_PAYLOAD // 2),
                "started_at": self.started_at,
            }
        )

    def open_terminal(self, size, theirs):
        self.master, slave = os.openpty()
        self.ours.append(self.master)
        theirs.extend((slave, slave, slave))
        self.resize(size)

    def open_files(self, files, theirs):
        theirs.append(os.open(os.devnull, os.O_RDONLY))
        for name in ("stdout_path", "stderr_path"):
            path = path_param(files, name)
            what = "opening %s" % to_text(path)
            try:
                # A FIFO that nobody reads must not hold us up.
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK
                theirs.append(os.open(path, flags, 0o644))
                mode = os.fstat(theirs[-1]).st_mode
                os.set_blocking(theirs[-1], True)
            except OSError as error:
                raise system_error(error, what)
            if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
                raise AgentError("invalid", "%s: is no file but %s" % (what, kind_of_file(mode)))

    def open_pipes(self, stdin, theirs):
        if stdin:
            child, mine = os.pipe()
            self.ours.append(mine)
            theirs.append(child)
        else:
            theirs.append(os.open(os.devnull, os.O_RDONLY))
        for _ in (1, 2):
            mine, child = os.pipe()
            self.ours.append(mine)
            theirs.append(child)

    def connect(self, terminal):
        """Ties our ends of the command's descriptors to the channels."""
        if self.detached:
            return
        if terminal:
            self.writer = InputWriter(self, os.dup(self.master), self.input_written)
        elif len(self.ours) == 3:
            self.writer = InputWriter(self, self.ours.pop(0), self.input_written)
        for channel in (1,) if terminal else (1, 2):
            self.pumps.append(OutputPump(self, self.ours.pop(0), channel, self.output_ended))

    # Input and output

    def data(self, channel, payload):
        if self.writer is None:
            self.grant(len(payload))
        elif not self.done:
            self.writer.write(payload)

    def end_of_input(self, channel):
        if self.writer is not None:
            if self.master >= 0:
                self.writer.write(b"\x04")  # a terminal's end of file is a character
            else:
                self.writer.end()

    def input_written(self):
        self.writer.close()

    def output_ended(self, pump, _error):
        if pump.fd < 0 and pump.channel == 1:
            self.master = -1
        self.send(EOF, pump.channel)
        self.check_done()

    def credited(self, channel):
        for pump in self.pumps:
            if pump.channel == channel:
                pump.update()

    # Controls

    def control(self, message):
        wanted = text_param(message, "signal")
        if wanted is not None:
            self.signal(find_signal(wanted))
        elif "resize" in message:
            self.resize(param(message, "resize", dict, {}))

    def resize(self, size):
        cols = number_param(size, "cols", 1, 65535, 80)
        rows = number_param(size, "rows", 1, 65535, 24)
        if self.master >= 0:
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def signal(self, number):
        """To the whole process group; at a terminal also to the group in the foreground, which may be another."""
        if self.exit is not None:
            return
        if self.master >= 0:
            try:
                foreground = struct.unpack("i", fcntl.ioctl(self.master, termios.TIOCGPGRP, b"\0\0\0\0"))[0]
            except OSError:
                foreground = self.pid
            if foreground > 1 and foreground != self.pid:
                signal_group(foreground, number)
                if number == signal.SIGINT:
                    return  # as a key would: the shell behind it is not meant
        signal_group(self.pid, number)

    # The end

    def time_out(self):
        self.timeout_timer = None
        if self.exit is None:
            self.timed_out = True
            self.stop()

    def stop(self):
        """TERM, and after a grace KILL, for all that the command started and that is still in its session."""
        if self.exit is not None or self.stopping:
            return
        self.stopping = True
        escaped = self.escaped()
        for number in (signal.SIGTERM, signal.SIGCONT):
            signal_group(self.pid, number)
            for pid in escaped:
                signal_process(pid, number)
        self.agent.loop.after(KILL_GRACE_SECONDS, self.kill)

    def kill(self):
        if self.exit is None:
            for group in session_members(self.pid):
                signal_group(group, signal.SIGKILL)
            for _ in range(KILL_ROUNDS):  # one may just have begun another
                escaped = self.escaped()
                if not escaped:
                    break
                for pid in escaped:
                    signal_process(pid, signal.SIGKILL)

    def escaped(self):
        """Processes of the command that have left its group: its session, even."""
        if self.mark is None:
            return []
        return [pid for pid in processes_with([self.mark]) if group_of(pid) not in (self.pid, None)]

    def will_reap(self):
        """The process has ended, but its id is still its own: the moment to kill what it left, if it was to be killed."""
        if self.stopping:
            self.kill()

    def ended(self, code, number):
        self.exit = {"code": code}
        if number is not None:
            self.exit.update(signal=signal_name(number), signal_number=number)
        self.ended_at = time.monotonic()
        self.agent.commands.pop(self.pid, None)
        if self.mark is not None:
            self.agent.journal.remove(self.mark)
        self.agent.loop.cancel(self.timeout_timer)
        if self.over:
            self.release()
            return
        for pump in self.pumps:
            pump.owed = waiting_bytes(pump.fd)
        self.check_done()
        if not self.done:
            self.quiet_timer = self.agent.loop.after(QUIET_SECONDS, self.check_quiet)

    def check_quiet(self):
        """Something else holds the outputs open. What was in them at the end is delivered, however slow the reader;
        then a short silence is enough."""
        now = time.monotonic()
        open_pumps = [pump for pump in self.pumps if pump.fd >= 0]
        if any(pump.owed > 0 for pump in open_pumps):
            self.ended_at = now
            wait = QUIET_SECONDS
        else:
            last = max([self.ended_at] + [pump.last_read for pump in open_pumps])
            wait = min(last + QUIET_SECONDS, self.ended_at + QUIET_LIMIT_SECONDS) - now
        if wait > 0.001:
            self.quiet_timer = self.agent.loop.after(wait, self.check_quiet)
            return
        for pump in open_pumps:
            if self.master < 0:
                self.agent.sinks.adopt(pump.release())
            else:
                pump.close()
            self.send(EOF, pump.channel)
        self.check_done()

    def check_done(self):
        if self.done or self.exit is None or any(pump.fd >= 0 for pump in self.pumps):
            return
        self.done = True
        self.agent.loop.cancel(self.quiet_timer)
        if self.writer is not None:
            self.writer.close()
        self.result(dict(self.exit, timed_out=self.timed_out))

    def abandon(self):
        if not self.pid:
            return
        if self.detached:
            return  # goes on without us; it is still reaped and listed
        self.stop()
        self.release()

    def release(self):
        self.done = True
        self.agent.loop.cancel(self.quiet_timer)
        for pump in self.pumps:
            pump.close()
        if self.writer is not None:
            self.writer.close()
        while self.ours:
            os.close(self.ours.pop())
        self.master = -1


def waiting_bytes(fd):
    if fd < 0:
        return 0
    try:
        return struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]
    except OSError:
        return 0


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


START_TICKS = 19  # where process_status has the time of the start, by which a process is not taken for another one


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


def cut_arguments(argv, room):
    """The first arguments and their beginnings, as many as fit into so many bytes of JSON."""
    count, length = 32, 256
    while True:
        kept = [part[:length] for part in argv[:count]]
        if length == 1 or len(to_json(kept)) <= room:
            return kept
        count, length = max(1, count // 2), length // 2


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


class Helper:
    """A program that an operation runs for itself, its output thrown away."""

    def __init__(self, stream, argv, on_end):
        self.stream = stream
        self.on_end = on_end
        null = os.open(os.devnull, os.O_RDWR)
        try:
            environment = {b"PATH": DEFAULT_PATH.encode(), b"LANG": b"C.UTF-8"}
            program = find_program(to_bytes(argv[0]), environment[b"PATH"])
            pid = spawn(program, [to_bytes(part) for part in argv], environment, b"/", [null] * 3)
        finally:
            os.close(null)
        stream.agent.children[pid] = self

    def will_reap(self):
        pass

    def ended(self, code, _signal):
        self.on_end(code)


# ---------------------------------------------------------------------------------------------------------------
# Files


def file_type(mode):
    for test, name in ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "symlink")):
        if test(mode):
            return name
    return "other"


def kind_of_file(mode):
    """In words, with the article."""
    for test, kind in (
        (stat.S_ISREG, "a file"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return kind
    return "a device"


# Some file systems keep later times than the host's dates can be: ECMA-262, "Time Values and Time Range".
MAX_DATE_MS = 8640000000000000


def describe(path, status):
    found = {
        "path": to_text(path),
        "type": file_type(status.st_mode),
        "size": status.st_size,
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "modified_ms": min(max(status.st_mtime_ns // 1000000, -MAX_DATE_MS), MAX_DATE_MS),
    }
    if found["type"] == "symlink":
        try:
            found["link_target"] = to_text(os.readlink(path))
        except OSError:
            pass  # it is gone by now
    return found


class Producer(Stream):
    """An operation that makes output on channel 1 from a source that never blocks for long, a chunk a turn."""

    queued = False

    def queue(self):
        if not self.queued:
            self.queued = True
            self.agent.loop.ready.append(self.turn)

    def turn(self):
        self.queued = False
        if self.over:
            return
        room = self.send_room(1)
        if room <= 0:
            return  # `credited` goes on
        if not self.agent.link.has_room():
            self.queued = True
            self.agent.starved.append(self.turn)
            return
        try:
            data = self.produce(room)
        except OSError as error:
            self.fail(system_error(error, self.name))
            self.abandon()
            return
        if data:
            self.send_data(1, data)
            self.queue()
        else:
            self.send(EOF, 1)
            self.result(self.summary())
            self.abandon()

    def credited(self, channel):
        self.queue()

    def summary(self):
        return None


RECORD = struct.Struct(">q")  # so many bytes follow; negative: so many zeros are left out
RECORD_CHUNK = CHUNK - RECORD.size
ZEROS = bytes(RECORD_CHUNK)
MAX_SKIP = 1 << 50  # far less than the host's numbers hold


class ReadFile(Producer):
    name = "read"
    fd = -1

    def start(self, params):
        path = path_param(params)
        offset = number_param(params, "offset", 0, 1 << 62, 0)
        self.left = number_param(params, "length", 0, 1 << 62, 1 << 62)
        self.holes = param(params, "holes", bool, False)
        self.kept = b""
        self.is_regular = False
        self.name = "reading %s" % to_text(path)
        try:
            # A FIFO or a terminal must not hold us up.
            self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            status = os.fstat(self.fd)
            if stat.S_ISDIR(status.st_mode):
                raise AgentError("is_a_directory", "%s: is a directory" % self.name)
            if stat.S_ISFIFO(status.st_mode):
                raise AgentError("invalid", "%s: is a FIFO" % self.name)
            self.is_regular = stat.S_ISREG(status.st_mode)
            if offset:
                os.lseek(self.fd, offset, os.SEEK_SET)
        except OSError as error:
            self.abandon()
            raise system_error(error, self.name)
        except AgentError:
            self.abandon()
            raise
        self.opened({"size": status.st_size, "mode": stat.S_IMODE(status.st_mode), "holes": self.holes})
        self.queue()

    def produce(self, room):
        if not self.holes:
            return self.take(room)
        found = self.kept
        if len(found) < room:
            found += self.next_record()
        self.kept = found[room:]
        return found[:room]

    def take(self, room):
        data = os.read(self.fd, min(room, self.left))
        self.left -= len(data)
        return data

    def next_record(self):
        data = self.take(RECORD_CHUNK)
        if not data:
            return b""
        if not ZEROS.startswith(data):
            return RECORD.pack(len(data)) + data
        # Zeros that are stored go one chunk a record, so that little is read ahead of a reader who stands still.
        return RECORD.pack(-(len(data) + self.skip_hole()))

    def skip_hole(self):
        """Goes to where the file has data again, as far as its file system knows, and says how far that was."""
        if not self.is_regular:
            return 0
        at = os.lseek(self.fd, 0, os.SEEK_CUR)
        try:
            found = os.lseek(self.fd, at, os.SEEK_DATA)
        except OSError as error:
            # ENXIO: there is nothing but a hole up to the end. Others know no holes.
            found = max(at, os.fstat(self.fd).st_size) if error.errno == errno.ENXIO else at
        skipped = min(max(0, found - at), self.left, MAX_SKIP)
        os.lseek(self.fd, at + skipped, os.SEEK_SET)
        self.left -= skipped
        return skipped

    def abandon(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class ListDirectory(Producer):
    """The entries as JSON objects, one a line."""

    name = "list"
    entries = None

    def start(self, params):
        path = path_param(params)
        self.name = "listing %s" % to_text(path)
        try:
            self.entries = os.scandir(path)
        except OSError as error:
            raise system_error(error, self.name)
        self.kept = b""
        self.opened({})
        self.queue()

    def produce(self, room):
        lines = [self.kept]
        size = len(self.kept)
        while size < room:
            entry = next(self.entries, None)
            if entry is None:
                break
            try:
                found = describe(entry.path, entry.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue  # removed in the meantime
            found["name"] = to_text(entry.name)
            lines.append(to_json(found) + b"\n")
            size += len(lines[-1])
        text = b"".join(lines)
        self.kept = text[room:]
        return text[:room]

    def abandon(self):
        if self.entries is not None and hasattr(self.entries, "close"):
            self.entries.close()


class WriteFile(Stream):
    """Writes beside the target and renames at the end of input, so that nobody ever sees half a file."""

    name = "write"
    inputs = (0,)
    fd = -1
    temporary = None

    def start(self, params):
        path = path_param(params)
        self.name = "writing %s" % to_text(path)
        mode = number_param(params, "mode", 0, 0o7777)
        user = text_param(params, "user")
        account = find_account(user) if user is not None else None
        owner = (account.uid, account.gid) if account else None
        self.target = os.path.realpath(path)  # a link stays a link
        self.written = 0
        self.holes = param(params, "holes", bool, False)
        self.head = b""  # what has come of a record's length
        self.left = 0  # what is still to come of a record's data
        folder = os.path.dirname(self.target)
        try:
            if param(params, "parents", bool, False):
                make_parents(folder, owner)
            try:
                before = os.stat(self.target)
            except FileNotFoundError:
                before = None
            if before is not None and not stat.S_ISREG(before.st_mode):
                code = "is_a_directory" if stat.S_ISDIR(before.st_mode) else "invalid"
                raise AgentError(code, "%s: is no regular file but %s" % (self.name, kind_of_file(before.st_mode)))
            temporary = os.path.join(folder, b".heyvm-" + binascii.hexlify(os.urandom(8)))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self.fd = os.open(temporary, flags, 0o600)
            self.temporary = temporary
            if owner is not None:
                os.fchown(self.fd, *owner)
            elif before is not None and (before.st_uid, before.st_gid) != (os.getuid(), os.getgid()):
                os.fchown(self.fd, before.st_uid, before.st_gid)
            if mode is None:
                mode = 0o644 if before is None else stat.S_IMODE(before.st_mode)
            os.fchmod(self.fd, mode)
        except OSError as error:
            self.abandon()
            raise system_error(error, self.name)
        self.opened({"holes": self.holes})

    def data(self, channel, payload):
        try:
            if self.holes:
                self.take_records(memoryview(payload))
            else:
                write_all(self.fd, payload)
                self.written += len(payload)
        except OSError as error:
            self.abandon()
            self.fail(system_error(error, self.name))
            return
        self.grant(len(payload))

    def take_records(self, content):
        while content:
            if self.left:
                part = content[: self.left]
                write_all(self.fd, part)
                self.written += len(part)
                self.left -= len(part)
                content = content[len(part) :]
                continue
            missing = RECORD.size - len(self.head)
            self.head += bytes(content[:missing])
            content = content[missing:]
            if len(self.head) < RECORD.size:
                return
            (length,) = RECORD.unpack(self.head)
            self.head = b""
            if length == 0 or self.written + abs(length) > 1 << 62:
                raise AgentError("invalid", "%s: a record of %d bytes" % (self.name, length))
            if length > 0:
                self.left = length
            else:
                self.written = os.lseek(self.fd, -length, os.SEEK_CUR)

    def end_of_input(self, channel):
        if self.left or self.head:
            raise AgentError("invalid", "%s: the content ends within a record" % self.name)
        try:
            if self.holes:
                os.ftruncate(self.fd, self.written)  # to behind the last hole
            fd, self.fd = self.fd, -1
            os.close(fd)
            os.rename(self.temporary, self.target)
            self.temporary = None
        except OSError as error:
            self.abandon()
            self.fail(system_error(error, self.name))
            return
        self.result({"bytes": self.written})

    def abandon(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.temporary is not None:
            try:
                os.unlink(self.temporary)
            except OSError:
                pass  # its folder is gone
            self.temporary = None


def make_parents(folder, owner=None, mode=0o755):
    """Makes a folder and those above it; what is made belongs to the owner."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        parent = os.path.dirname(folder)
        if parent == folder:
            break
        folder = parent
    for path in reversed(missing):
        try:
            os.mkdir(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
            continue
        os.chmod(path, mode if path == missing[0] else 0o755)
        if owner is not None:
            os.chown(path, *owner)


class StatFile(Stream):
    name = "stat"

    def start(self, params):
        path = path_param(params)
        try:
            status = os.stat(path) if param(params, "follow", bool, False) else os.lstat(path)
        except OSError as error:
            raise system_error(error, to_text(path))
        self.result(describe(path, status))


class MakeDirectory(Stream):
    name = "mkdir"

    def start(self, params):
        path = path_param(params)
        mode = number_param(params, "mode", 0, 0o7777, 0o755)
        try:
            if param(params, "recursive", bool, False):
                make_parents(path.rstrip(b"/") or b"/", None, mode)
            else:
                os.mkdir(path)
                os.chmod(path, mode)
        except OSError as error:
            raise system_error(error, "making directory %s" % to_text(path))
        self.result()


class RemoveFile(Stream):
    name = "remove"

    def start(self, params):
        path = path_param(params)
        recursive = param(params, "recursive", bool, False)
        if os.path.normpath(path) in (b"/", b"//"):
            raise AgentError("invalid", "removing / is refused")
        self.agent.slowly(self, lambda: self.remove(path.rstrip(b"/"), recursive))

    @staticmethod
    def remove(path, recursive):
        try:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)
            else:
                if recursive:
                    remove_content(path)
                os.rmdir(path)
        except OSError as error:
            raise system_error(error, "removing %s" % to_text(path))


def remove_content(folder):
    """Step by step and from folder to folder, with one of them open: a tree may be deeper than Python recurses or than
    files may be open, and its paths longer than a path may be."""
    here = open_folder(folder)
    above = []  # of each folder on our way: those in it that are left, the name of the one we went into, what it was
    try:
        left = remove_files(here)
        while True:
            if left:
                name = left.pop()
                beyond = open_folder(name, here)
                above.append((left, name, identity(here)))
                os.close(here)
                here = beyond
                left = remove_files(here)
            elif above:
                left, name, expected = above.pop()
                beyond = open_folder("..", here)
                os.close(here)
                here = beyond
                if identity(here) != expected:
                    raise OSError(errno.ESTALE, "a folder was moved meanwhile")
                os.rmdir(name, dir_fd=here)
            else:
                return
    finally:
        os.close(here)


def remove_files(folder):
    """Answers the names of the folders, which stay."""
    folders = []
    for name in os.listdir(folder):
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            folders.append(name)
    return folders


def open_folder(path, within=None):
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=within)


def identity(fd):
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


class RenameFile(Stream):
    name = "rename"

    def start(self, params):
        source, target = path_param(params, "from"), path_param(params, "to")
        try:
            os.rename(source, target)
        except OSError as error:
            raise system_error(error, "renaming %s to %s" % (to_text(source), to_text(target)))
        self.result()


# ---------------------------------------------------------------------------------------------------------------
# Connections inside the guest


class Dial(Stream):
    """A connection to a TCP port or unix socket: channel 0 goes in, channel 1 comes out, each with its own end."""

    name = "dial"
    inputs = (0,)
    pump = None
    writer = None
    socket = None

    def start(self, params):
        import socket

        self.early = []  # input that came before the connection was there
        self.early_end = False
        if params.get("path") is not None:
            path = path_param(params)
            self.name = "connecting to %s" % to_text(path)
            self.targets = [(socket.AF_UNIX, path)]
            self.connect()
            return
        port = number_param(params, "port", 1, 65535)
        if port is None:
            raise AgentError("invalid", "dial wants a port or a path")
        host = text_param(params, "host")
        self.name = "connecting to %s port %d" % (host or "127.0.0.1", port)
        if host is None or host == "localhost":
            # Some servers listen on only one of the loopback addresses.
            self.targets = [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
            self.connect()
            return
        self.resolve(host, port)

    def resolve(self, host, port):
        import socket

        def look_up():
            try:
                return [(info[0], info[4]) for info in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)]
            except (OSError, UnicodeError) as error:
                raise AgentError("unreachable", "%s: %s" % (self.name, error))

        self.agent.beside(self, look_up, self.resolved)

    def resolved(self, found):
        if not self.over:
            self.targets = found[:8]
            self.connect()

    def connect(self):
        """Tries the targets in turn; the first refusal is the one that is told."""
        import socket

        family, address = self.targets.pop(0)
        try:
            self.socket = socket.socket(family, socket.SOCK_STREAM)
            self.socket.setblocking(False)
            number = self.socket.connect_ex(address)
        except OSError as error:
            number = error.errno
        if number == errno.EINPROGRESS:
            self.agent.loop.watch(self.socket.fileno(), select.EPOLLOUT, self.connect_ended)
        elif number:
            self.connect_failed(number)
        else:
            self.connected()

    def connect_ended(self, _events):
        import socket

        self.agent.loop.unwatch(self.socket.fileno())
        number = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self.connect_failed(number)
        else:
            self.connected()

    first_failure = None

    def connect_failed(self, number):
        self.abandon()
        self.first_failure = self.first_failure or number
        if self.targets:
            self.connect()
            return
        self.fail(system_error(OSError(self.first_failure, ""), self.name))

    def connected(self):
        import socket

        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.opened({})
        self.writer = InputWriter(self, os.dup(self.socket.fileno()), self.input_written)
        self.pump = OutputPump(self, os.dup(self.socket.fileno()), 1, self.output_ended)
        for payload in self.early:
            self.writer.write(payload)
        self.early = []
        if self.early_end:
            self.writer.end()

    def data(self, channel, payload):
        if self.writer is None:
            self.early.append(payload)
        else:
            self.writer.write(payload)

    def end_of_input(self, channel):
        if self.writer is None:
            self.early_end = True
        else:
            self.writer.end()

    def input_written(self):
        import socket

        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side has closed it
        self.writer.close()
        self.check_done()

    def output_ended(self, _pump, error):
        if error is not None:
            self.fail(system_error(error, self.name))
            self.abandon()
            return
        self.send(EOF, 1)
        self.check_done()

    def check_done(self):
        if self.pump.fd < 0 and self.writer.fd < 0:
            self.result()
            self.abandon()

    def credited(self, channel):
        if self.pump is not None:
            self.pump.update()

    def abandon(self):
        if self.pump is not None:
            self.pump.close()
        if self.writer is not None:
            self.writer.close()
        if self.socket is not None:
            self.agent.loop.unwatch(self.socket.fileno())
            self.socket.close()
            self.socket = None


# ---------------------------------------------------------------------------------------------------------------
# The machine


def read_bytes(path, limit=-1):
    """A file's content, or None when it cannot be read, or is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with open(fd, "rb", closefd=False) as file:
            return file.read(limit)
    except OSError:
        return None
    finally:
        os.close(fd)


def read_text(path, limit=65536):
    """A file's text, or nothing when it cannot be read."""
    return (read_bytes(path, limit) or b"").decode("utf-8", "replace")


def read_os_release():
    found = {}
    for line in read_text("/etc/os-release", 8192).splitlines():
        name, equals, value = line.partition("=")
        if equals and name in ("ID", "ID_LIKE", "NAME", "PRETTY_NAME", "VERSION_ID", "VERSION_CODENAME"):
            found[name] = value.strip().strip("\"'")[:256]
    return found


def replace_file(path, data, mode):
    """Writes a small file of the system at once or not at all."""
    temporary = path + ".heyvm-new"
    try:
        os.unlink(temporary)  # left by one that was cut off, or a FIFO that would hold us up
    except FileNotFoundError:
        pass
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        try:
            os.fchmod(fd, mode)
            write_all(fd, data)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def overwrite_file(path, data):
    fd = os.open(path, os.O_WRONLY)
    try:
        write_all(fd, data)
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)


def write_all(fd, data):
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


PAGE = 4096


def set_content(path, data, mode):
    """Gives a file of the system this content; a new one gets the mode. One that has the content is not touched: the disk
    may be full. One of a page is overwritten, which needs no room, reaches the disk as a whole, and costs a clone, which
    does all for the first time, a fraction of a new file; so is one that something is mounted on. A link stays a link."""
    path = os.path.realpath(path)
    before = read_bytes(path)
    if before == data:
        return
    try:
        if before is None:
            replace_file(path, data, mode)
        elif max(len(before), len(data)) <= PAGE:
            overwrite_file(path, data)
        else:
            try:
                replace_file(path, data, stat.S_IMODE(os.stat(path).st_mode))
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                overwrite_file(path, data)
    except OSError as error:
        raise system_error(error, "writing %s" % path)


BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Identify(Stream):
    """Makes this guest itself and no other: what is given is set, in an order in which nothing waits for entropy."""

    name = "identify"

    def start(self, params):
        steps = (
            ("entropy", self.add_entropy),
            ("machine_id", self.set_machine_id),
            ("boot_id", self.set_boot_id),
            # The last two wake the guest's own services, which then work beside us.
            ("hostname", self.set_hostname),
            ("clock_ms", self.set_clock),
        )
        failures = []  # one of them does not keep the other fields from being set
        for field, step in steps:
            if params.get(field) is not None:
                try:
                    step(params)
                except AgentError as error:
                    failures.append(error)
                except OSError as error:
                    failures.append(system_error(error, "setting %s" % field))
        keys = param(params, "ssh_host_keys", dict)
        if keys is not None:
            self.write_keys(keys)
        if failures:
            raise failures[0]
        self.result()

    @staticmethod
    def add_entropy(params):
        try:
            data = binascii.a2b_base64(text_param(params, "entropy"))
        except ValueError:
            raise AgentError("invalid", "entropy is no base64")
        if not 0 < len(data) <= 4096:
            raise AgentError("invalid", "entropy must be 1 to 4096 bytes, not %d" % len(data))
        add_to_pool, reseed = 0x40085203, 0x5207
        with open("/dev/random", "wb", buffering=0) as pool:
            fcntl.ioctl(pool, add_to_pool, struct.pack("ii", len(data) * 8, len(data)) + data)
            try:
                fcntl.ioctl(pool, reseed)
            except OSError:
                pass  # kernels before 4.17 reseed when they see fit

    @staticmethod
    def set_clock(params):
        wanted = number_param(params, "clock_ms", 0, 1 << 46) / 1000.0
        # The request was on its way for about as long, and a clock that is set wakes half of the guest.
        if abs(time.time() - wanted) > 0.1:
            time.clock_settime(time.CLOCK_REALTIME, wanted)

    @staticmethod
    def set_hostname(params):
        name = text_param(params, "hostname")
        labels = name.split(".")
        legal = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
        if len(name) > 64 or not all(label and not label.strip(legal) for label in labels):
            raise AgentError("invalid", "hostname %s is none that a machine can have" % name)
        if os.uname().nodename != name:
            with open("/proc/sys/kernel/hostname", "wb", buffering=0) as file:
                file.write(name.encode())
        set_content("/etc/hostname", name.encode() + b"\n", 0o644)
        own, others = [], []
        for line in (read_bytes("/etc/hosts") or b"127.0.0.1\tlocalhost\n::1\tlocalhost\n").splitlines(True):
            (own if line.split()[:1] == [b"127.0.1.1"] else others).append(line)
        if others and not others[0].endswith(b"\n"):
            others[0] += b"\n"
        if not any(name.encode() in line.split()[1:] for line in own):
            line = "127.0.1.1\t%s%s\n" % (name, "" if labels[0] == name else " " + labels[0])
            set_content("/etc/hosts", b"".join(others[:1] + [line.encode()] + others[1:]), 0o644)

    @staticmethod
    def set_machine_id(params):
        value = text_param(params, "machine_id")
        if len(value) != 32 or value.strip("0123456789abcdef"):
            raise AgentError("invalid", "machine_id must be 32 lower-case hex digits, not %s" % value)
        set_content("/etc/machine-id", value.encode() + b"\n", 0o444)
        copy = "/var/lib/dbus/machine-id"
        if os.path.isfile(copy) and not os.path.islink(copy):
            set_content(copy, value.encode() + b"\n", 0o444)

    def set_boot_id(self, params):
        value = text_param(params, "boot_id")
        if [len(part) for part in value.split("-")] != [8, 4, 4, 4, 12] or value.strip("0123456789abcdef-"):
            raise AgentError("invalid", "boot_id must be a lower-case UUID, not %s" % value)
        set_content("/run/heyvm-boot-id", value.encode() + b"\n", 0o444)
        # A template's has been mounted before it was frozen.
        if read_text(BOOT_ID).strip() != value:
            ms_bind = 0x1000
            number = mount_at(b"/run/heyvm-boot-id", BOOT_ID.encode(), None, ms_bind, None)
            if number != 0:
                raise OSError(number, os.strerror(number))
        self.agent.boot_id = value

    @staticmethod
    def write_keys(keys):
        legal = "abcdefghijklmnopqrstuvwxyz0123456789_"
        for name, content in keys.items():
            base = name[:-4] if name.endswith(".pub") else name
            if not base.startswith("ssh_host_") or base.strip(legal) or not isinstance(content, str):
                raise AgentError("invalid", "%s is no name of an ssh host key" % name)
        try:
            make_parents("/etc/ssh")
            for name, content in keys.items():
                replace_file("/etc/ssh/" + name, to_bytes(content), 0o644 if name.endswith(".pub") else 0o600)
            # Keys of other kinds could only be the template's, which all its clones would share.
            for name in os.listdir("/etc/ssh"):
                if name.startswith("ssh_host_") and name not in keys:
                    os.unlink("/etc/ssh/" + name)
        except OSError as error:
            raise system_error(error, "writing ssh host keys")


class Mount(Stream):
    """Mounts a virtio-9p device by its tag."""

    name = "mount"

    def start(self, params):
        tag = text_param(params, "tag")
        if not tag:
            raise AgentError("invalid", "tag is missing")
        path = path_param(params)
        read_only = param(params, "read_only", bool, False)
        wait_ms = number_param(params, "wait_ms", 0, 600000, 8000)

        def mount(_code=None):
            self.agent.slowly(self, lambda: mount_9p(to_bytes(tag), path, read_only, wait_ms / 1000.0))

        if os.path.isdir("/sys/module/9pnet_virtio"):
            mount()
            return
        try:
            # Kernels before 5.17 load the file system by themselves, but not its transport.
            Helper(self, ["modprobe", "-a", "9p", "9pnet_virtio"], mount)
        except AgentError:
            mount()


def mount_at(source, target, kind, flags, options):
    """mount(2), which os does not have; answers 0 or an error's number."""
    if LIBC is None:
        return errno.ENOSYS
    return ctypes.get_errno() if LIBC.mount(source, target, kind, ctypes.c_ulong(flags), options) != 0 else 0


CACHE_MMAP = b",cache=mmap"


def is_mounted(tag, path):
    """By a host that was cut off before it had our answer."""
    line = " ".join(part.decode("utf-8", "replace").replace(" ", "\\040") for part in (tag, path.rstrip(b"/")))
    return any(mount.startswith(line + " 9p ") for mount in read_text("/proc/self/mounts", -1).splitlines())


def mount_options(release):
    """How a guest of this kernel mounts: without a cache, and with writable shared maps where they change nothing else.

    Before 6.4 cache=mmap is cache=none with such maps: read(2), write(2), sizes and names go to the host all the same
    (v9fs_mmap_file_operations_dotl in fs/9p/vfs_file.c of 6.1). Since then it is read-ahead and write-back
    (Documentation/filesystems/9p.rst): on 6.8, 6.12, 6.16 and 7.2 the guest does not see the host's edits, and its
    writes come late. With directio neither is so, but v9fs_file_open of 6.8, 6.12 and 7.2 takes O_APPEND from what is
    opened to be written only, and the guest writes over what the host has appended (6.16.12 was not seen to).
    """
    options = b"trans=virtio,version=9p2000.L,msize=262144"
    return options + CACHE_MMAP if ".".join(release.split(".")[:2]) in ("5.10", "5.15", "6.1") else options


def mount_9p(tag, path, read_only, wait_seconds):
    shown = "mounting %s at %s" % (to_text(tag), to_text(path))
    try:
        make_parents(path.rstrip(b"/") or b"/")
    except OSError as error:
        raise system_error(error, shown)
    ms_rdonly = 1
    options = mount_options(os.uname().release)
    deadline = time.monotonic() + wait_seconds
    while True:
        number = mount_at(tag, path, b"9p", ms_rdonly if read_only else 0, options)
        if number == 0 or (number == errno.EBUSY and is_mounted(tag, path)):
            return
        if number == errno.EINVAL and options.endswith(CACHE_MMAP):
            options = options[: -len(CACHE_MMAP)]
            continue
        if number == errno.ENODEV or "\t9p\n" not in read_text("/proc/filesystems"):
            release = os.uname().release
            raise AgentError(
                "unsupported",
                "%s: the guest's kernel %s has no module 9p (or 9pnet_virtio), without which no folder can be mounted"
                % (shown, release),
                module="9p",
                kernel=release,
            )
        # ENOENT: the device is not there; one that is plugged in while the guest runs takes a moment.
        if number != errno.ENOENT or time.monotonic() > deadline:
            raise system_error(OSError(number, ""), shown)
        time.sleep(0.05)


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


def main(arguments):
    os.umask(0o022)
    journal = None
    if len(arguments) == 4 and arguments[0] != "--stdio" and arguments[2] == "--journal":
        journal = arguments[3]
        arguments = arguments[:2]
    agent = Agent(journal)
    if arguments == ["--version"]:
        print(AGENT_VERSION)
        return 0
    if arguments == ["--stdio"]:
        port = StdioPort(agent.loop)
    elif len(arguments) == 2 and arguments[0] == "--port":
        port = DevicePort(agent.loop, arguments[1])
    elif len(arguments) == 2 and arguments[0] == "--listen-unix":
        port = UnixPort(agent.loop, arguments[1])
    else:
        sys.stderr.write(__doc__)
        return 2
    os.chdir("/")
    agent.run(port)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
