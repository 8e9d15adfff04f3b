"""Ports: where the pipe comes from. A port has the descriptors of the moment and tells its link when they change."""
import fcntl
import os
import select

from .wire import ANNOUNCEMENT

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
