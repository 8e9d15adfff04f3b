#!/usr/bin/env python3
"""Starts the agent. A module, not the program itself, so that Python keeps it compiled: that is a second of a boot
under emulation."""
import os
import sys

sys.path.append(os.path.dirname(os.path.abspath(__file__)))
from heyvm_agent import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
