"""A terminal's two ends as a virtio port's: prints the path of the guest's end, which survives whoever has it open, and
passes on the bytes of the host's end by stdin and stdout."""

import os
import pty
import select
import sys
import tty

host, guest = pty.openpty()
tty.setraw(guest)
sys.stderr.write(os.ttyname(guest) + "\n")
sys.stderr.flush()
while True:
    for readable in select.select([0, host], [], [])[0]:
        chunk = os.read(readable, 65536)
        if not chunk:
            sys.exit()
        target = host if readable == 0 else 1
        while chunk:
            chunk = chunk[os.write(target, chunk) :]
