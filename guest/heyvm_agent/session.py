"""The session: which host is served, and with which streams and commands."""
import os
import signal
import struct
import time
from collections import deque

from .filesystem import read_text
from .link import Link
from .loop import Loop
from .machine import BOOT_ID, read_os_release
from .operations import OPERATIONS
from .processes import find_account
from .pumps import Sinks
from .streams import Stream
from .succession import DETACHED, Farewell, Journal, Remains, Survivor, find_survivor, is_shutting_down, own_unit
from .wire import (
    AGENT_VERSION,
    BYE,
    CLOSE,
    CONTROL,
    CREDIT,
    DATA,
    EOF,
    MAX_OPEN,
    MAX_PAYLOAD,
    MAX_STREAMS,
    OPEN,
    PROTOCOL,
    WINDOW,
    AgentError,
    ProtocolError,
    failure_of,
    from_json,
    to_json,
)


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
