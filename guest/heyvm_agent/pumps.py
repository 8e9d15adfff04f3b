"""What carries bytes between descriptors and the channels of a stream."""
import errno
import fcntl
import os
import select
import struct
import termios
import time
from collections import deque


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


def waiting_bytes(fd):
    if fd < 0:
        return 0
    try:
        return struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]
    except OSError:
        return 0
