# SPDX-License-Identifier: GPL-3.0-or-later
"""A day in the life of the example application, in half a minute: load, restarts, and three moments known exactly."""

from __future__ import annotations

from dataclasses import dataclass

from conftest import ADDRESS, SERVICE, Application, query, shown
from watching import ALL_ROWS, ARCHIVE, LOAD, PAUSE, PAUSED, eventually, host_time, listed, running_timeline

# Writes until it is stopped, whatever becomes of the service meanwhile; while PAUSE stands, it says that it pauses.
WRITER = f"""
import json, os, time, urllib.request
number = 0
while True:
    while os.path.exists("{PAUSE}"):
        open("{PAUSED}", "w").close()
        time.sleep(0.05)
    body = json.dumps({{"kind": "load", "payload": "x" * 200 + str(number)}}).encode()
    try:
        urllib.request.urlopen("{ADDRESS}/events", body, timeout=20).close()
        number += 1
        time.sleep(0.01)
    except OSError:
        time.sleep(0.1)
"""


@dataclass
class Moment:
    """A time (RFC 3339) and all rows that the database had then."""

    time: str
    rows: list


class History:
    """Under load: a moment, a restart of the service; a moment, a restart of the archive; a crash of it, a moment."""

    def __init__(self, host):
        self.host = host
        self.app = Application(host)
        self.moments = {}
        self.begun_in = running_timeline(host)["id"]
        host.check_output(f"rm -f {PAUSE} {PAUSED}")
        host.check_output(f"systemd-run --quiet --unit={LOAD} --service-type=exec python3 -c %s", WRITER)
        try:
            self._live()
        finally:
            host.check_output(f"systemctl stop {LOAD}; rm -f {PAUSE} {PAUSED}")

    def _live(self):
        self._write()
        self._mark("first")
        self._resume()
        self.host.check_output(f"systemctl restart {SERVICE}")
        self._write()
        self._mark("second")
        self.host.check_output(f"systemctl restart {ARCHIVE}")
        running_timeline(self.host)
        self.unbroken = listed(self.host)
        self._resume()
        self._write()
        before = shown(self.host, ARCHIVE, "InvocationID")
        self.host.check_output(f"systemctl kill --signal=KILL {ARCHIVE}")
        eventually(lambda: shown(self.host, ARCHIVE, "InvocationID") != before)
        self._write()
        running_timeline(self.host)
        self._mark("third")
        self.before_restores = listed(self.host)

    def _write(self):
        """Let the load add events."""
        enough = self.app.count() + 100
        eventually(lambda: self.app.count() >= enough)

    def _resume(self):
        self.host.check_output(f"rm {PAUSE} {PAUSED}")

    def _mark(self, name):
        """Nothing is written between the last of the rows and the moment, so it is known exactly."""
        self.host.check_output(f"touch {PAUSE}")
        eventually(lambda: self.host.file(PAUSED).exists)
        self.app.add(f"mark-{name}")
        rows = query(self.host, ALL_ROWS)
        now = host_time(self.host)
        proven = eventually(lambda: [w["to"] for w in listed(self.host)["windows"][-1:] if w["to"] > now])
        self.moments[name] = Moment(proven[0], rows)
