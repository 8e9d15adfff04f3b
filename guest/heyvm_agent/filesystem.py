"""The file system: what operations need of it, and the operations on names."""
import errno
import os
import stat

from .streams import Stream
from .wire import AgentError, number_param, param, path_param, system_error, to_text


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
