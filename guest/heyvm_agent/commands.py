"""Commands."""
import errno
import fcntl
import os
import signal
import stat
import struct
import termios
import time

from .filesystem import kind_of_file
from .processes import (
    COMMAND_VARIABLE,
    KILL_GRACE_SECONDS,
    KILL_ROUNDS,
    START_TICKS,
    command_environment,
    cwd_error,
    enter_directory,
    find_account,
    find_program,
    find_signal,
    group_of,
    process_status,
    processes_with,
    session_members,
    signal_group,
    signal_name,
    signal_process,
    spawn,
)
from .pumps import InputWriter, OutputPump, waiting_bytes
from .streams import Stream
from .succession import DETACHED, cut_arguments
from .wire import (
    EOF,
    MAX_PAYLOAD,
    AgentError,
    number_param,
    param,
    path_param,
    system_error,
    text_param,
    to_bytes,
    to_json,
    to_text,
)

QUIET_SECONDS = 0.2  # after a command's end: how long its outputs, held open by others, must be silent
QUIET_LIMIT_SECONDS = 1.0


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
