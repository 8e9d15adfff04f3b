"""Processes: the user and environment they get, how they are started, found and signalled."""
import errno
import fcntl
import os
import signal
import termios

from .wire import AgentError, to_bytes, to_text

KILL_GRACE_SECONDS = 2.0

# In the environment of each command, with a value of its own: what leaves its session is still known by it.
COMMAND_VARIABLE = b"HEYVM_COMMAND"
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


START_TICKS = 19  # where process_status has the time of the start, by which a process is not taken for another one


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
