from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from litekeep.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket as systemd opens it, a file or an abstract one."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@litekeep-test-{tmp_path.name}"
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        listener.setblocking(False)
        yield listener


def heard(listener: socket.socket) -> list[str]:
    words = []
    while True:
        try:
            words.append(listener.recv(4096).decode())
        except BlockingIOError:
            return words


def test_systemd_hears_every_word(systemd: socket.socket) -> None:
    notifier = Notifier()
    assert notifier.listened_to
    notifier.ready()
    notifier.alive()
    notifier.status("archiving; WAL 1.0 MB")
    notifier.stopping()
    assert heard(systemd) == ["READY=1", "WATCHDOG=1", "STATUS=archiving; WAL 1.0 MB", "STOPPING=1"]


def test_a_status_is_told_when_it_changed(systemd: socket.socket) -> None:
    notifier = Notifier()
    for text in ("a", "a", "b", "a"):
        notifier.status(text)
    assert heard(systemd) == ["STATUS=a", "STATUS=b", "STATUS=a"]


def test_a_status_is_one_line_so_that_no_trouble_can_speak_to_systemd(systemd: socket.socket) -> None:
    Notifier().status("the disk said:\nSTOPPING=1")
    (said,) = heard(systemd)
    assert "\nSTOPPING" not in said


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    assert not notifier.listened_to
    notifier.ready()
    notifier.status("x")


def test_a_socket_that_is_gone_or_full_stops_nothing(systemd: socket.socket, tmp_path: Path) -> None:
    notifier = Notifier()
    for _many in range(10000):
        notifier.alive()
    assert heard(systemd)
    systemd.close()
    notifier.alive()
