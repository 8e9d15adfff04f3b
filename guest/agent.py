#!/usr/bin/env python3
"""Starts the agent. A package, not the program itself, so that Python keeps it compiled: that is a second of a boot
under emulation."""
import gc
import os
import sys

# Nothing of what is imported is garbage: not looking for any makes up for most of what so many modules cost a start.
gc.disable()
sys.path.append(os.path.dirname(os.path.abspath(__file__)))
from heyvm_agent import main  # noqa: E402

if hasattr(gc, "freeze"):  # not in Python 3.6
    gc.freeze()
gc.enable()
sys.exit(main(sys.argv[1:]))
