"""The agent runs under every Python that guests have, and starts fast.

    python3 -B -m unittest discover -s guest
"""
import ast
import os
import unittest

import heyvm_agent

# Names that came after Python 3.6, by the module that has them: the agent may use them only behind hasattr.
NEWER = {
    "os": {"posix_spawn", "posix_spawnp", "memfd_create", "pidfd_open", "waitstatus_to_exitcode", "eventfd", "splice"},
    "time": {"time_ns", "monotonic_ns", "perf_counter_ns"},
    "signal": {"strsignal", "valid_signals", "pidfd_send_signal", "raise_signal"},
    "socket": {"has_dualstack_ipv6", "create_server", "send_fds", "recv_fds"},
    "gc": {"freeze"},
    "binascii": set(),
    "json": set(),
}
GUARDED = {("os", "posix_spawn"), ("gc", "freeze")}


class Compatibility(unittest.TestCase):
    def setUp(self):
        folder = os.path.dirname(heyvm_agent.__file__)
        paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".py")]
        self.sources = {}
        for path in paths + [os.path.join(os.path.dirname(folder), "agent.py")]:
            with open(path) as file:
                self.sources[path] = file.read()

    def test_the_syntax_is_that_of_python_3_6(self):
        for path, source in self.sources.items():
            ast.parse(source, path, feature_version=(3, 6))

    def test_no_newer_names_of_the_library_are_used(self):
        used = {
            (node.value.id, node.attr)
            for source in self.sources.values()
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        newer = {(module, name) for module, names in NEWER.items() for name in names}
        self.assertEqual(used & newer, GUARDED)
        for method in (".removeprefix(", ".removesuffix(", "capture_output", "math.prod", ".is_relative_to("):
            for path, source in self.sources.items():
                self.assertNotIn(method, source, path)

    def test_only_cheap_modules_are_imported_at_the_start(self):
        top = [node for source in self.sources.values() for node in ast.parse(source).body]
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        self.assertFalse(names & {"socket", "threading", "subprocess", "shutil", "ctypes", "pwd", "logging", "argparse"})
