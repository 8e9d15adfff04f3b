"""Streams: one operation of the host's each."""
import struct

from .wire import (
    CHUNK,
    CREDIT,
    DATA,
    EOF,
    ERROR,
    MAX_MESSAGE,
    OPENED,
    RESULT,
    WINDOW,
    AgentError,
    ProtocolError,
    failure_of,
    system_error,
    to_json,
)


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
