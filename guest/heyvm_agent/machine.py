"""The machine: which one it is, and what is mounted in it."""
import binascii
import errno
import fcntl
import os
import struct
import time

from .filesystem import make_parents, read_bytes, read_text, replace_file, set_content
from .processes import Helper
from .streams import Stream
from .wire import AgentError, number_param, param, path_param, system_error, text_param, to_bytes, to_text

try:
    # Now rather than when it is needed: by then every clone would have to load it.
    import ctypes

    LIBC = ctypes.CDLL(None, use_errno=True)
except (ImportError, OSError):
    LIBC = None


def read_os_release():
    found = {}
    for line in read_text("/etc/os-release", 8192).splitlines():
        name, equals, value = line.partition("=")
        if equals and name in ("ID", "ID_LIKE", "NAME", "PRETTY_NAME", "VERSION_ID", "VERSION_CODENAME"):
            found[name] = value.strip().strip("\"'")[:256]
    return found


BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Identify(Stream):
    """Makes this guest itself and no other: what is given is set, in an order in which nothing waits for entropy."""

    name = "identify"

    def start(self, params):
        steps = (
            ("entropy", self.add_entropy),
            ("machine_id", self.set_machine_id),
            ("boot_id", self.set_boot_id),
            # The last two wake the guest's own services, which then work beside us.
            ("hostname", self.set_hostname),
            ("clock_ms", self.set_clock),
        )
        failures = []  # one of them does not keep the other fields from being set
        for field, step in steps:
            if params.get(field) is not None:
                try:
                    step(params)
                except AgentError as error:
                    failures.append(error)
                except OSError as error:
                    failures.append(system_error(error, "setting %s" % field))
        keys = param(params, "ssh_host_keys", dict)
        if keys is not None:
            self.write_keys(keys)
        if failures:
            raise failures[0]
        self.result()

    @staticmethod
    def add_entropy(params):
        try:
            data = binascii.a2b_base64(text_param(params, "entropy"))
        except ValueError:
            raise AgentError("invalid", "entropy is no base64")
        if not 0 < len(data) <= 4096:
            raise AgentError("invalid", "entropy must be 1 to 4096 bytes, not %d" % len(data))
        add_to_pool, reseed = 0x40085203, 0x5207
        with open("/dev/random", "wb", buffering=0) as pool:
            fcntl.ioctl(pool, add_to_pool, struct.pack("ii", len(data) * 8, len(data)) + data)
            try:
                fcntl.ioctl(pool, reseed)
            except OSError:
                pass  # kernels before 4.17 reseed when they see fit

    @staticmethod
    def set_clock(params):
        wanted = number_param(params, "clock_ms", 0, 1 << 46) / 1000.0
        # The request was on its way for about as long, and a clock that is set wakes half of the guest.
        if abs(time.time() - wanted) > 0.1:
            time.clock_settime(time.CLOCK_REALTIME, wanted)

    @staticmethod
    def set_hostname(params):
        name = text_param(params, "hostname")
        labels = name.split(".")
        legal = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
        if len(name) > 64 or not all(label and not label.strip(legal) for label in labels):
            raise AgentError("invalid", "hostname %s is none that a machine can have" % name)
        if os.uname().nodename != name:
            with open("/proc/sys/kernel/hostname", "wb", buffering=0) as file:
                file.write(name.encode())
        set_content("/etc/hostname", name.encode() + b"\n", 0o644)
        own, others = [], []
        for line in (read_bytes("/etc/hosts") or b"127.0.0.1\tlocalhost\n::1\tlocalhost\n").splitlines(True):
            (own if line.split()[:1] == [b"127.0.1.1"] else others).append(line)
        if others and not others[0].endswith(b"\n"):
            others[0] += b"\n"
        if not any(name.encode() in line.split()[1:] for line in own):
            line = "127.0.1.1\t%s%s\n" % (name, "" if labels[0] == name else " " + labels[0])
            set_content("/etc/hosts", b"".join(others[:1] + [line.encode()] + others[1:]), 0o644)

    @staticmethod
    def set_machine_id(params):
        value = text_param(params, "machine_id")
        if len(value) != 32 or value.strip("0123456789abcdef"):
            raise AgentError("invalid", "machine_id must be 32 lower-case hex digits, not %s" % value)
        set_content("/etc/machine-id", value.encode() + b"\n", 0o444)
        copy = "/var/lib/dbus/machine-id"
        if os.path.isfile(copy) and not os.path.islink(copy):
            set_content(copy, value.encode() + b"\n", 0o444)

    def set_boot_id(self, params):
        value = text_param(params, "boot_id")
        if [len(part) for part in value.split("-")] != [8, 4, 4, 4, 12] or value.strip("0123456789abcdef-"):
            raise AgentError("invalid", "boot_id must be a lower-case UUID, not %s" % value)
        set_content("/run/heyvm-boot-id", value.encode() + b"\n", 0o444)
        # A template's has been mounted before it was frozen.
        if read_text(BOOT_ID).strip() != value:
            ms_bind = 0x1000
            number = mount_at(b"/run/heyvm-boot-id", BOOT_ID.encode(), None, ms_bind, None)
            if number != 0:
                raise OSError(number, os.strerror(number))
        self.agent.boot_id = value

    @staticmethod
    def write_keys(keys):
        legal = "abcdefghijklmnopqrstuvwxyz0123456789_"
        for name, content in keys.items():
            base = name[:-4] if name.endswith(".pub") else name
            if not base.startswith("ssh_host_") or base.strip(legal) or not isinstance(content, str):
                raise AgentError("invalid", "%s is no name of an ssh host key" % name)
        try:
            make_parents("/etc/ssh")
            for name, content in keys.items():
                replace_file("/etc/ssh/" + name, to_bytes(content), 0o644 if name.endswith(".pub") else 0o600)
            # Keys of other kinds could only be the template's, which all its clones would share.
            for name in os.listdir("/etc/ssh"):
                if name.startswith("ssh_host_") and name not in keys:
                    os.unlink("/etc/ssh/" + name)
        except OSError as error:
            raise system_error(error, "writing ssh host keys")


class Mount(Stream):
    """Mounts a virtio-9p device by its tag."""

    name = "mount"

    def start(self, params):
        tag = text_param(params, "tag")
        if not tag:
            raise AgentError("invalid", "tag is missing")
        path = path_param(params)
        read_only = param(params, "read_only", bool, False)
        wait_ms = number_param(params, "wait_ms", 0, 600000, 8000)

        def mount(_code=None):
            self.agent.slowly(self, lambda: mount_9p(to_bytes(tag), path, read_only, wait_ms / 1000.0))

        if os.path.isdir("/sys/module/9pnet_virtio"):
            mount()
            return
        try:
            # Kernels before 5.17 load the file system by themselves, but not its transport.
            Helper(self, ["modprobe", "-a", "9p", "9pnet_virtio"], mount)
        except AgentError:
            mount()


def mount_at(source, target, kind, flags, options):
    """mount(2), which os does not have; answers 0 or an error's number."""
    if LIBC is None:
        return errno.ENOSYS
    return ctypes.get_errno() if LIBC.mount(source, target, kind, ctypes.c_ulong(flags), options) != 0 else 0


CACHE_MMAP = b",cache=mmap"


def is_mounted(tag, path):
    """By a host that was cut off before it had our answer."""
    line = " ".join(part.decode("utf-8", "replace").replace(" ", "\\040") for part in (tag, path.rstrip(b"/")))
    return any(mount.startswith(line + " 9p ") for mount in read_text("/proc/self/mounts", -1).splitlines())


def mount_options(release):
    """How a guest of this kernel mounts: without a cache, and with writable shared maps where they change nothing else.

    Before 6.4 cache=mmap is cache=none with such maps: read(2), write(2), sizes and names go to the host all the same
    (v9fs_mmap_file_operations_dotl in fs/9p/vfs_file.c of 6.1). Since then it is read-ahead and write-back
    (Documentation/filesystems/9p.rst): on 6.8, 6.12, 6.16 and 7.2 the guest does not see the host's edits, and its
    writes come late. With directio neither is so, but v9fs_file_open of 6.8, 6.12 and 7.2 takes O_APPEND from what is
    opened to be written only, and the guest writes over what the host has appended (6.16.12 was not seen to).
    """
    options = b"trans=virtio,version=9p2000.L,msize=262144"
    return options + CACHE_MMAP if ".".join(release.split(".")[:2]) in ("5.10", "5.15", "6.1") else options


def mount_9p(tag, path, read_only, wait_seconds):
    shown = "mounting %s at %s" % (to_text(tag), to_text(path))
    try:
        make_parents(path.rstrip(b"/") or b"/")
    except OSError as error:
        raise system_error(error, shown)
    ms_rdonly = 1
    options = mount_options(os.uname().release)
    deadline = time.monotonic() + wait_seconds
    while True:
        number = mount_at(tag, path, b"9p", ms_rdonly if read_only else 0, options)
        if number == 0 or (number == errno.EBUSY and is_mounted(tag, path)):
            return
        if number == errno.EINVAL and options.endswith(CACHE_MMAP):
            options = options[: -len(CACHE_MMAP)]
            continue
        if number == errno.ENODEV or "\t9p\n" not in read_text("/proc/filesystems"):
            release = os.uname().release
            raise AgentError(
                "unsupported",
                "%s: the guest's kernel %s has no module 9p (or 9pnet_virtio), without which no folder can be mounted"
                % (shown, release),
                module="9p",
                kernel=release,
            )
        # ENOENT: the device is not there; one that is plugged in while the guest runs takes a moment.
        if number != errno.ENOENT or time.monotonic() > deadline:
            raise system_error(OSError(number, ""), shown)
        time.sleep(0.05)
