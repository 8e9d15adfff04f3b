"""What goes over the wire: its constants, all of them in docs/agent-protocol.md; errors, strings, JSON and parameters."""
import errno
import json
import os
import struct

AGENT_VERSION = "1.0.0"
PROTOCOL = 1

HOST_MAGIC = b"\x00\xffHEYVM-HOST\r\n\x1a\n"
AGENT_MAGIC = b"\x00\xffHEYVM-AGNT\r\n\x1a\n"
PREAMBLE = struct.Struct(">16s16sII")  # magic, nonce, length and CRC-32 of the JSON that follows
ANNOUNCEMENT = PREAMBLE.pack(AGENT_MAGIC, bytes(16), 0, 0)  # whoever believes to have a session: it is gone
MAX_HELLO = 16384

HEADER = struct.Struct(">IIBBHIi")  # token, number, kind, channel, 0, stream, payload length
TRAILER = struct.Struct(">I")  # token
FRAME_OVERHEAD = HEADER.size + TRAILER.size
MAX_PAYLOAD = 65536

OPEN, OPENED, DATA, EOF, CREDIT, CONTROL, RESULT, ERROR, CLOSE = range(1, 10)
ACK, PING, PONG, BYE = 16, 17, 18, 19  # of the link itself, not numbered

WINDOW = 256 * 1024  # credit that each (stream, channel) starts with, in both directions
MAX_STREAMS = 1024
MAX_OPEN = 1024 * 1024
REPLAY_LIMIT = 4 * 1024 * 1024
REPLAY_HARD_LIMIT = 8 * 1024 * 1024
FRAME_COST = 64  # what a frame counts for beside its payload, so that tiny frames are bounded, too
ACK_BYTES = 256 * 1024
ACK_FRAMES = 64

# What this implementation chooses. A virtio port takes 32 KiB a write: a frame of ours is exactly one write.
CHUNK = 32768 - FRAME_OVERHEAD
UNSENT_LIMIT = 256 * 1024  # more than this waits in the commands' own pipes, so that a small answer is never far behind
RECEIVE_BUFFER = 512 * 1024
MAX_MESSAGE = 4096  # characters of an error; as JSON, each takes at most twelve bytes of the payload
MASK32 = 0xFFFFFFFF


class AgentError(Exception):
    """An operation failed; the host gets code, message and details."""

    def __init__(self, code, message, **details):
        Exception.__init__(self, message)
        self.code = code
        self.details = details


class ProtocolError(Exception):
    """The host broke the protocol: the session is over."""


ERROR_CODES = {
    errno.ENOENT: "not_found",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
    errno.EROFS: "permission_denied",
    errno.EEXIST: "exists",
    errno.ENOTEMPTY: "not_empty",
    errno.ENOTDIR: "not_a_directory",
    errno.EISDIR: "is_a_directory",
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EINVAL: "invalid",
    errno.ENAMETOOLONG: "invalid",
    errno.ELOOP: "invalid",
    errno.ECONNREFUSED: "connection_refused",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ETIMEDOUT: "unreachable",
}


def system_error(error, what):
    """An AgentError for what the system refused: `what` says what was tried, on what."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    name = errno.errorcode.get(error.errno, "")
    return AgentError(ERROR_CODES.get(error.errno, "failed"), "%s: %s" % (what, reason), errno=name)


def failure_of(error, what):
    """What the caller of an operation is told of whatever was raised in it."""
    if isinstance(error, AgentError):
        return error
    if isinstance(error, OSError):
        return system_error(error, "%s failed" % what)
    return AgentError("internal", "%s failed: %r" % (what, error))


def to_bytes(text):
    """The system's bytes for a string of the protocol; file names that are no UTF-8 travel as lone surrogates."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise AgentError("invalid", "a string with characters that no file name can have")


def to_text(data):
    return data.decode("utf-8", "surrogateescape")


def to_json(value):
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def from_json(payload):
    try:
        value = json.loads(payload.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        raise ProtocolError("a payload that is no JSON")
    if not isinstance(value, dict):
        raise ProtocolError("a JSON payload that is no object")
    return value


# Parameters of an operation: absent (or null) is the default, the wrong type an error that names the field.


def param(params, name, kind, default=None):
    value = params.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise AgentError("invalid", "%s must be a %s" % (name, kind.__name__))
    return value


def number_param(params, name, low, high, default=None):
    value = param(params, name, int, default)
    if value is not None and not low <= value <= high:
        raise AgentError("invalid", "%s must be from %d to %d, not %d" % (name, low, high, value))
    return value


def text_param(params, name, default=None):
    value = param(params, name, str, default)
    if value is not None and "\0" in value:
        raise AgentError("invalid", "%s contains a NUL character" % name)
    return value


def path_param(params, name="path"):
    value = text_param(params, name)
    if not value:
        raise AgentError("invalid", "%s is missing" % name)
    if not value.startswith("/"):
        raise AgentError("invalid", "%s must be absolute, not %s" % (name, value))
    return to_bytes(value)


RECORD = struct.Struct(">q")  # so many bytes follow; negative: so many zeros are left out
