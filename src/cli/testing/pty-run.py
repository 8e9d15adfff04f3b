"""Runs a command on a terminal of its own: pty-run.py COLS ROWS COMMAND...

Passes stdin and output through. SIGUSR1 makes the window 20 columns wider. At the end it says on stderr, as JSON, how the
terminal was left: {"exit": 0, "echo": true, "canonical": true}.
"""

import fcntl, json, os, select, signal, struct, subprocess, sys, termios

cols, rows, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
master, slave = os.openpty()


def resize(width):
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, width, 0, 0))


resize(cols)
signal.signal(signal.SIGUSR1, lambda *_: resize(cols + 20))
child = subprocess.Popen(
    command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
)
sources = [master, 0]
while True:
    ready, _, _ = select.select(sources, [], [], 0.1)
    if master in ready:
        os.write(1, os.read(master, 65536))
    elif child.poll() is not None:
        break
    if 0 in ready:
        data = os.read(0, 65536)
        if data:
            os.write(master, data)
        else:
            sources.remove(0)
local = termios.tcgetattr(slave)[3]
print(
    json.dumps({"exit": child.returncode, "echo": bool(local & termios.ECHO), "canonical": bool(local & termios.ICANON)}),
    file=sys.stderr,
)
