# SPDX-License-Identifier: GPL-3.0-or-later
"""What scenarios with an archive share: waiting for its moments, and a writer that logs what was acknowledged."""

from __future__ import annotations

import json
import time

from conftest import ADDRESS, query

ARCHIVE = "litekeep-archive@events.service"
ALL_ROWS = "SELECT id, timestamp, kind, payload FROM events ORDER BY id"
LOAD = "litekeep-load.service"
LOG, PAUSE, PAUSED = "/var/tmp/acknowledged", "/run/load.pause", "/run/load.paused"

# Writes until it is stopped, whatever becomes of the service meanwhile. Each line of its log is an event that the
# service has acknowledged: id, number, time. While PAUSE stands, it says that it pauses.
WRITER = f"""
import json, os, sys, time, urllib.request
number = int(sys.argv[1])
log = os.open("{LOG}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while True:
    while os.path.exists("{PAUSE}"):
        open("{PAUSED}", "w").close()
        time.sleep(0.05)
    number += 1
    body = json.dumps({{"kind": "load", "payload": "x" * 200 + str(number)}}).encode()
    try:
        with urllib.request.urlopen("{ADDRESS}/events", body, timeout=20) as answer:
            os.write(log, b"%d %d %.3f\\n" % (json.load(answer)["id"], number, time.time()))
        time.sleep(0.01)
    except OSError:
        time.sleep(0.05)
"""


def eventually(probe, seconds=60):
    """The first true answer; how long it may take is no promise, only an end."""
    end = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < end, f"after {seconds} s still {found!r}"
        time.sleep(0.2)
    return found


def host_time(host):
    return host.check_output("date --utc +%Y-%m-%dT%H:%M:%S.%3NZ")


def listed(host, database="events"):
    """What ``litekeep list`` knows of it."""
    return json.loads(host.check_output(f"litekeep list {database} --json"))["databases"][0]


def proven(host):
    """A time that is proven to have the state that the database has now."""
    now = host_time(host)
    return eventually(lambda: [w["to"] for w in listed(host)["windows"][-1:] if w["to"] > now])[0]


def running_timeline(host, database="events"):
    """The timeline that goes on now, as soon as moments in it can be restored."""

    def find():
        found = listed(host, database)
        alive = [each for each in found["timelines"] if each["state"] == "running" and each["from"]]
        return alive and alive[-1]["id"] == found["timelines"][-1]["id"] and alive[-1]

    return eventually(find)


class Writer:
    """The load, and what the service has acknowledged to it."""

    def __init__(self, host):
        self.host = host

    def start(self):
        number = int(time.time() * 1000)
        self.host.check_output(f"rm -f {LOG} {PAUSE} {PAUSED}; touch {LOG}")
        command = f"systemd-run --quiet --unit={LOAD} --service-type=exec python3 -c %s {number}"
        self.host.check_output(command, WRITER)

    def stop(self):
        self.host.run(f"systemctl stop {LOAD}; rm -f {PAUSE} {PAUSED}")

    def pause(self):
        """Until nothing is under way any more."""
        self.host.check_output(f"touch {PAUSE}")
        eventually(lambda: self.host.file(PAUSED).exists)

    def resume(self):
        self.host.check_output(f"rm {PAUSE} {PAUSED}")

    def acknowledged(self):
        """Each event as (id, payload), and when that was, in seconds since 1970."""
        lines = self.host.check_output(f"cat {LOG}").splitlines()
        return [((int(one), "x" * 200 + number), float(when)) for one, number, when in map(str.split, lines)]

    def more(self, count):
        """Wait until that many more are acknowledged."""
        enough = len(self.acknowledged()) + count
        eventually(lambda: len(self.acknowledged()) >= enough)

    def lost(self):
        """What was acknowledged and is not there once."""
        rows = [(row[0], row[3]) for row in query(self.host, ALL_ROWS)]
        assert len({one for one, _payload in rows}) == len(rows)
        there = set(rows)
        return [(event, when) for event, when in self.acknowledged() if event not in there]
