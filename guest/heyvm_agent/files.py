"""Reading, writing and listing files."""
import binascii
import errno
import os
import stat

from .filesystem import describe, kind_of_file, make_parents, write_all
from .processes import find_account
from .streams import Producer, Stream
from .wire import CHUNK, RECORD, AgentError, number_param, param, path_param, system_error, text_param, to_json, to_text

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
