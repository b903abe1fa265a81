# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers are hosts enough: what the other tests rely on is in force here.

systemd drops settings that it cannot apply without a word; a test of a sandbox would then prove nothing.
"""

from __future__ import annotations

import shlex

import pytest


def same_as_first_process(directory):
    return f'test "$(stat -c %d:%i {directory})" = "$(stat -c %d:%i /proc/1/root{directory})"'


SETTINGS = [
    # setting, command that it must refuse and that works without it
    ("ProtectSystem=strict", "touch /usr/probe && rm /usr/probe"),
    ("ProtectHome=yes", "touch /root/probe && rm /root/probe"),
    ("ReadOnlyPaths=/srv", "touch /srv/probe && rm /srv/probe"),
    ("InaccessiblePaths=/srv", same_as_first_process("/srv")),
    ("PrivateTmp=yes", same_as_first_process("/tmp")),
    ("PrivateDevices=yes", same_as_first_process("/dev")),
    ("ProtectProc=invisible", "setpriv --reuid=daemon --regid=daemon --clear-groups ls -d /proc/1"),
    ("CapabilityBoundingSet=~CAP_CHOWN", "touch /tmp/probe && chown daemon /tmp/probe"),
    ("SystemCallFilter=~mkdir mkdirat", "mkdir /tmp/probe.d && rmdir /tmp/probe.d"),
    ("RestrictAddressFamilies=AF_UNIX", "python3 -c 'import socket; socket.socket(socket.AF_INET)'"),
]


def test_systemd_is_the_first_process_and_nothing_has_failed(host):
    assert host.file("/proc/1/comm").content_string.strip() == "systemd"
    assert host.check_output("systemctl is-system-running --wait") == "running"


def test_release_is_the_one_in_the_name(host):
    version = host.check_output("sed -n 's/^VERSION_ID=//p' /etc/os-release").strip('"')
    assert host.backend.get_hostname() == f"litekeep-debian{version}"


@pytest.mark.parametrize(("setting", "command"), SETTINGS)
def test_setting_is_enforced(host, setting, command):
    def run(*properties: str) -> int:
        arguments = [f"--property={each}" for each in properties]
        line = shlex.join(["systemd-run", "--wait", "--pipe", "--quiet", *arguments, "/bin/sh", "-c", command])
        return host.run(line).rc

    assert run() == 0, "the command fails even without the setting"
    assert run(setting) != 0, f"{setting} is not enforced here"


def test_root_sees_what_another_user_s_process_has_open(host):
    """A restore asks /proc who holds the database; a blind root would always hear "nobody"."""
    sleeper = "setpriv --reuid=daemon --regid=daemon --clear-groups sleep 60 </etc/hostname"
    found = host.check_output("sh -c %s", f"{sleeper} & sleep 0.5; readlink /proc/$!/fd/0; kill $!")
    assert found == "/etc/hostname"
