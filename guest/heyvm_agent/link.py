"""The link: numbered frames over a port."""
import binascii
import errno
import os
import struct
from collections import deque

from .wire import (
    ACK,
    ACK_BYTES,
    ACK_FRAMES,
    AGENT_MAGIC,
    BYE,
    FRAME_COST,
    FRAME_OVERHEAD,
    HEADER,
    HOST_MAGIC,
    MASK32,
    MAX_HELLO,
    MAX_PAYLOAD,
    PING,
    PONG,
    PREAMBLE,
    RECEIVE_BUFFER,
    REPLAY_HARD_LIMIT,
    REPLAY_LIMIT,
    TRAILER,
    UNSENT_LIMIT,
    ProtocolError,
    from_json,
    to_json,
)


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
