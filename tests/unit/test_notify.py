from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT

from litekeep.notify import Notifier, Stop


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


def test_a_signal_may_ask_to_stop_at_any_point_of_the_wait() -> None:
    """With threading.Event this hangs within some hundred rounds: its set and its wait take the same lock."""
    code = (
        "import random, signal\n"
        "from litekeep.notify import Stop\n"
        "for number in range(5000):\n"
        "    stop = Stop()\n"
        "    signal.signal(signal.SIGALRM, lambda *_arguments: stop.set())\n"
        "    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 1e-3))\n"
        "    while not stop.wait(1e-5):\n"
        "        pass\n"
        "assert stop.is_set() and stop.wait(3600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)


def test_a_request_to_stop_may_be_repeated() -> None:
    stop = Stop()
    assert not stop.wait(0.001)
    for _number in range(100_000):  # more than a pipe holds
        stop.set()
    assert stop.is_set()
