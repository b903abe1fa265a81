# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""``scripts/bench push``: what one backup server carries.

A real sshd and real hosts on one machine, each with a database that is written to; ``seal`` beside them. Then every
host's database is restored out of the server and compared, row for row.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from sample_events import byte_size

from . import machine, push_report, push_seal
from .archive import tell
from .archive_load import START, crew
from .backup import _positive as positive
from .backup import _size as size
from .backup import make_database
from .place import Place, WrongResultError, require_room, require_writable, workplace
from .push_host import Host, running
from .push_results import SEAL_EVERY, PushResults, published
from .push_server import SSHD, Server, require_root, server

SUMMARY = "hosts that push to one backup server, over SSH: what a push and its sealing take there (as root)"
READY_LIMIT = 300.0  # seconds until every host's first backup, and a push after it, have arrived
SETTLE = 3.0  # seconds between that and the first push that counts
WORK = 2e6  # bytes that a second of the load adds for one host at most, at 2 commits/s, in all places


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--hosts", type=positive(int), default=4, help="how many send (default 4)")
    parser.add_argument("--seconds", type=positive(float), default=60.0, help="length of the load (default 60)")
    parser.add_argument("--interval", type=positive(int), default=2, help="seconds between two pushes (default 2)")
    parser.add_argument("--seal", type=positive(float), default=5.0, help="seconds between two looks (default 5)")
    parser.add_argument("--rate", type=positive(float), default=2.0, help="commits a second, each host (default 2)")
    parser.add_argument("--size", type=size, default=2 * 10**6, help="size of each database before (default 2MB)")
    parser.add_argument(
        "--relief", type=byte_size, default=10**6, help="Litekeep's setting of that name (default 1MB: many rounds)"
    )
    parser.add_argument(
        "--history", type=positive(float), default=24.0, metavar="HOURS", help="age of a timeline to seal, too (24)"
    )
    parser.add_argument("--no-pam", action="store_true", help="UsePAM no; Debian has yes, and so has this")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other events (default 1)")
    parser.add_argument(
        "--server", type=Path, default=Path("/srv"), metavar="DIR", help="the server's files go below it (default /srv)"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="hosts work in this empty directory and leave it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, unrounded, to this file")


def run(options: argparse.Namespace) -> int:
    """Measure, print, and return 1 when a result was wrong."""
    machine.require_commands()
    require_root(options.server)
    require_writable(options.json)
    needed = int(options.hosts * (options.size * 5 + WORK * options.seconds * max(1.0, options.rate / 2)))
    require_room(options.server, needed)
    with workplace(options.keep, needed) as place:
        results = PushResults({**machine.describe(place.folder), **described()}, _plain(options))
        try:
            measure(place, options, results)
        except WrongResultError as problem:
            results.failures.append(str(problem))
    print("\n".join(push_report.lines(results)), flush=True)
    if options.json:
        options.json.write_text(json.dumps(published(results), indent=2) + "\n", encoding="utf-8")
    return 1 if results.failures else 0


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    keys = ("hosts", "seconds", "interval", "seal", "rate", "size", "relief", "history", "no_pam", "seed")
    return {key: getattr(options, key) for key in keys}


def described() -> dict[str, str]:
    """Versions of what ``machine.describe`` does not know."""
    said = subprocess.run([SSHD, "-V"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    ssh = re.search(r"OpenSSH_[^\s,]+", said.stdout + said.stderr)
    return {
        "sshd": ssh[0] if ssh else "OpenSSH",
        "rclone": machine.said("rclone", "version").split("\n")[0].replace("rclone ", ""),
    }


def measure(place: Place, options: argparse.Namespace, results: PushResults) -> None:
    """All of it; fills ``results``, also when it does not come to its end."""
    make_database(place, options.size, options.seed, "requests")
    results.database = place.database.stat().st_size
    with server(place, options.server, options.hosts, not options.no_pam) as there:

        def make(number: int) -> Host:
            return Host(place, there, number, options.interval, options.relief)

        with running(make, options.hosts) as hosts:
            load(place, options, there, hosts, results)
            for host in hosts:
                host.push()
            push_seal.rest(place, there)
            for number, host in enumerate(hosts, 1):
                results.standing.append(push_seal.standing(there.folder(number)))
                problem = host.problem(number)
                results.failures += [problem] if problem else []
                results.proven += not problem
            tell(f"restored {results.proven} of {len(hosts)} databases out of the server")
        base = there.repository.parent
        results.start, results.idle = push_seal.costs(place, base, there.folder(1))
        for records in (0, int(options.history * 3600)):
            results.histories.append(push_seal.history(place, base, records, SEAL_EVERY))


def load(place: Place, options: argparse.Namespace, there: Server, hosts: list[Host], results: PushResults) -> None:
    """The hosts at work, then at their ends."""
    with crew(place) as writers:
        for host in hosts:
            host.write(writers, options.rate, options.seed * 1000)
        written = time.monotonic() + START
        sealer = push_seal.Sealer(place, there, options.seal)
        try:
            wait_until_ready(there, hosts)
            writers.wait(SETTLE)
            looks, before = len(sealer.looks), [host.sender.cpu() for host in hosts]
            server_before = there.cpu()
            tell("measuring")
            begun, ended = writers.wait(options.seconds)
            results.server = there.cpu() - server_before
            results.senders = sum(host.sender.cpu() for host in hosts) - sum(before)
            results.looks = sealer.looks[looks:]
        finally:
            sealer.end()
        results.failures += [f"litekeep seal refused: {reason}" for reason in sealer.refused]
        logs = writers.end()
        results.written_for = time.monotonic() - written
    for host in hosts:
        host.archiver.end()
    for host in hosts:
        host.sender.end()
        pushes = host.pushes()
        results.pushes += [one for one in pushes if begun <= one.begun < ended]
        results.connections += sum(begun <= call < ended for one in pushes for call in one.calls)
    results.seconds = ended - begun
    errors = [message for log in logs.values() for _moment, message in log["errors"]]
    results.failures += [f"a writer failed: {message}" for message in errors[:5]]
    tell(f"{len(results.done)} pushes, and {len(results.failed)} that failed")


def wait_until_ready(there: Server, hosts: list[Host]) -> None:
    """Until every host has a sealed backup and has pushed. WrongResultError when that does not come."""
    until = time.monotonic() + READY_LIMIT
    for number, host in enumerate(hosts, 1):
        while not (host.pushes() and any(there.folder(number).glob("*/backups/*/manifest.json"))):
            host.archiver.require_alive()
            host.sender.require_alive()
            if time.monotonic() > until:
                raise WrongResultError(f"nothing of {host.name} has arrived and was sealed in {READY_LIMIT:.0f} s")
            time.sleep(0.2)
