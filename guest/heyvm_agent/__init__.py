"""The heyvm guest agent: runs commands, moves files and reaches ports for the host, over one pipe.

    agent.py --port /dev/virtio-ports/org.heyvm.agent.0    waits for the device, serves for ever
    agent.py --stdio                                       serves the host at stdin/stdout, leaves at its end
    agent.py --listen-unix PATH                            serves one host at a time at a unix socket

The first and the last take --journal FOLDER after it, where what runs is noted for the agent after one that died.

Python 3.6 or later, standard library only. The protocol is described in docs/agent-protocol.md.

One thread and one epoll loop do everything but the few calls that may block for long (see Agent.slowly). From the
bottom up, each using only what is before it: wire; loop, ports, link (frames that survive a broken pipe); streams and
pumps; filesystem, processes; the operations (files, dial, machine, succession, commands, operations); session.
Modules that only some operations need are imported there, because starting up is slow in an emulated guest. So there
are not more of our own than have a reason: each costs a start half a percent.
"""
import os
import sys

from .ports import DevicePort, StdioPort, UnixPort
from .session import Agent
from .wire import AGENT_VERSION


def main(arguments):
    os.umask(0o022)
    journal = None
    if len(arguments) == 4 and arguments[0] != "--stdio" and arguments[2] == "--journal":
        journal = arguments[3]
        arguments = arguments[:2]
    agent = Agent(journal)
    if arguments == ["--version"]:
        print(AGENT_VERSION)
        return 0
    if arguments == ["--stdio"]:
        port = StdioPort(agent.loop)
    elif len(arguments) == 2 and arguments[0] == "--port":
        port = DevicePort(agent.loop, arguments[1])
    elif len(arguments) == 2 and arguments[0] == "--listen-unix":
        port = UnixPort(agent.loop, arguments[1])
    else:
        sys.stderr.write(__doc__)
        return 2
    os.chdir("/")
    agent.run(port)
    return 0
