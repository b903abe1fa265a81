# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Between systemd and a service: ready, still alive, what it is doing now (sd_notify(3)); and that it is to stop."""

from __future__ import annotations

import contextlib
import os
import select
import socket


class Stop:
    """A request to stop that a signal handler may make.

    A handler that calls ``threading.Event.set`` waits for ever when it interrupts that event's own ``wait``: both take
    the same lock, which is not reentrant. This one takes none.
    """

    def __init__(self) -> None:
        self._wanted = False
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __del__(self) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def set(self) -> None:
        """Ask for it; again is the same."""
        self._wanted = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"x")

    def is_set(self) -> bool:
        """Whether it was asked for."""
        return self._wanted

    def wait(self, seconds: float) -> bool:
        """The same, after so many seconds at most."""
        if not self._wanted:
            select.select([self._reader], [], [], seconds)
        return self._wanted


class Notifier:
    """Sends to the socket that systemd names in NOTIFY_SOCKET. Without systemd nobody listens."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._status = ""

    @property
    def listened_to(self) -> bool:
        """Whether this runs as a service that systemd started and will start again."""
        return bool(self._address)

    def ready(self) -> None:
        """The service is up."""
        self._send("READY=1")

    def alive(self) -> None:
        """For the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The service is on its way down."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; sent when it changed."""
        text = " ".join(text.split())
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A full or vanished socket must not stop an archiver.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            out.setblocking(False)
            out.sendto(text.encode(), self._address)
