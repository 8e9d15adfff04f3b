"""The machine, its files and its mounts."""
import errno
import os
import unittest

from heyvm_agent import filesystem, machine, operations


class PowerCommand(unittest.TestCase):
    def choose(self, reboot, *paths):
        return operations.power_command(reboot, set(paths).__contains__)

    def test_systemd_is_asked_when_it_runs(self):
        chosen = self.choose(False, "/run/systemd/system", "/sbin/poweroff")
        self.assertEqual(chosen, ["systemctl", "--no-block", "poweroff"])

    def test_openrc_as_init_has_its_own_command(self):
        paths = ("/run/openrc", "/run/initctl", "/sbin/openrc-shutdown", "/sbin/reboot")
        self.assertEqual(self.choose(True, *paths), ["openrc-shutdown", "--reboot", "now"])

    def test_busybox_and_sysvinit_have_theirs(self):
        self.assertEqual(self.choose(True, "/run/openrc", "/sbin/reboot"), ["/sbin/reboot"])
        self.assertEqual(self.choose(False, "/usr/sbin/poweroff"), ["/usr/sbin/poweroff"])

    def test_without_any_the_kernel_is_left(self):
        self.assertIsNone(self.choose(False))


class SystemFiles(unittest.TestCase):
    def test_what_lies_where_a_new_content_is_written_first_holds_nothing_up(self):
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "hosts")
            elsewhere = os.path.join(folder, "elsewhere")
            filesystem.write_all(os.open(elsewhere, os.O_WRONLY | os.O_CREAT), b"kept")
            for leave in (os.mkfifo, lambda place: os.symlink(elsewhere, place), lambda place: os.link(elsewhere, place)):
                leave(path + ".heyvm-new")
                filesystem.replace_file(path, b"new", 0o644)
                self.assertEqual(filesystem.read_bytes(path), b"new")
                self.assertEqual(filesystem.read_bytes(elsewhere), b"kept")
            self.assertEqual(sorted(os.listdir(folder)), ["elsewhere", "hosts"])


class Mounts(unittest.TestCase):
    PLAIN = b"trans=virtio,version=9p2000.L,msize=262144"

    def test_only_a_kernel_that_was_tried_is_mounted_with_writable_shared_maps(self):
        for release in ("5.10.0-46-amd64", "5.15.0-204-generic", "6.1.0-50-amd64", "6.1"):
            self.assertEqual(machine.mount_options(release), self.PLAIN + b",cache=mmap", release)
        # 6.4 gave cache=mmap another meaning; no other was tried.
        for release in ("6.12.117+deb13-amd64", "6.8.0-151-generic", "7.2.13", "6.10.1", "6.11", "6.4.0", "6", "", "odd"):
            self.assertEqual(machine.mount_options(release), self.PLAIN, release)

    def test_a_kernel_that_refuses_the_cache_mode_is_mounted_as_any_other(self):
        import tempfile
        from unittest import mock

        asked = []

        def mount_at(source, target, kind, flags, options):
            asked.append(options)
            return errno.EINVAL if b"cache" in options else 0

        cached = self.PLAIN + b",cache=mmap"
        with tempfile.TemporaryDirectory() as folder:
            with mock.patch.object(machine, "mount_at", mount_at):
                with mock.patch.object(machine, "mount_options", lambda release: cached):
                    machine.mount_9p(b"mount0", os.path.join(os.fsencode(folder), b"w"), False, 5)
        self.assertEqual(asked, [cached, self.PLAIN])
