"""Connections inside the guest."""
import errno
import os
import select

from .pumps import InputWriter, OutputPump
from .streams import Stream
from .wire import EOF, AgentError, number_param, path_param, system_error, text_param, to_text


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
