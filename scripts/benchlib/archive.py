# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""``scripts/bench archive``: what an archiver costs the application, and how fast its history is restored.

The same load on a copy of the same database, one way after the other: without an archiver, with Litekeep, with
Litestream; each round in another order. Then both restore what they have, and every row is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sample_events import byte_size

from . import archive_compare, archive_report, compare, machine
from .archive_load import START, crew, merged, start_writers
from .archive_peer import litestream
from .archive_results import ArchiveResults, Round, Side, published, restored
from .archive_watch import Archiver, archiver, within
from .archive_ways import DATABASE, STORED, Litekeep, Litestream, Way, aside_size, described
from .backup import _positive as positive
from .backup import _size as size
from .backup import make_database
from .measure import Usage
from .place import Place, WrongResultError, require_writable, tree_size, workplace

SUMMARY = "writers beside no archiver, litekeep archive, and litestream replicate; then the restore of that history"
READY_LIMIT = 300.0  # seconds that an archiver gets for its first copy of the database
SETTLE = 2.0  # seconds between that and the load, and between the first commit and the first that counts
RESTORES = 3  # in each round; one before them is not counted
WORK = 12e6  # bytes that a second of the load adds at most, at 200 commits/s: rows, WAL, history, in three ways


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--seconds", type=positive(float), default=60.0, help="length of the load (default 60)")
    parser.add_argument("--rate", type=positive(float), default=200.0, help="commits a second, all writers (200)")
    parser.add_argument("--writers", type=positive(int), default=4, help="how many share them (default 4)")
    parser.add_argument("--runs", type=positive(int), default=3, help="rounds of all ways (default 3)")
    parser.add_argument("--size", type=size, default=10**8, help="size of the database before (default 100MB)")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other events (default 1)")
    parser.add_argument("--relief", type=byte_size, help="Litekeep's setting of that name (default: its own)")
    parser.add_argument(
        "--skip", action="append", default=[], choices=("litekeep", "litestream"), help="leave a way out (repeatable)"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this empty directory and leave it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, unrounded, to this file")


def run(options: argparse.Namespace) -> int:
    """Measure, print, and return 1 when a result was wrong."""
    machine.require_commands()
    require_writable(options.json)
    ways = chosen(options.skip, {} if options.relief is None else {"relief": options.relief})
    needed = options.size * 8 + WORK * options.seconds * max(1.0, options.rate / 200)
    with workplace(options.keep, int(needed)) as place:
        facts = {**machine.describe(place.folder), **described(ways)}
        results = ArchiveResults(facts, _plain(options), {way.key: way.title for way in ways})
        try:
            measure(place, options, ways, results)
        except WrongResultError as problem:
            results.failures.append(str(problem))
    print("\n".join(archive_report.lines(results)), flush=True)
    if options.json:
        options.json.write_text(json.dumps(published(results), indent=2) + "\n", encoding="utf-8")
    return 1 if results.failures else 0


def chosen(skipped: Sequence[str], settings: dict[str, Any]) -> list[Way]:
    """All ways but those; Litestream is installed when it is among them. settings: Litekeep's archive_settings."""
    ways = [Way()]
    if "litekeep" not in skipped:
        ways.append(Litekeep(settings))
    if "litestream" not in skipped:
        ways.append(Litestream(litestream()))
    return ways


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    return {key: getattr(options, key) for key in ("seconds", "rate", "writers", "runs", "size", "seed", "relief")}


def measure(place: Place, options: argparse.Namespace, ways: list[Way], results: ArchiveResults) -> None:
    """All rounds; fills ``results``, also when it does not come to its end."""
    tell(f"making a database of {options.size / 1e6:.0f} MB")
    make_database(place, options.size, options.seed, "requests")
    results.database = {"bytes": place.database.stat().st_size, "last_event": compare.last_event(place.database)}
    for number in range(options.runs):
        label = f"round {number + 1} of {options.runs}"
        found: Round = {}
        results.rounds.append(found)
        order = in_turn(ways, number)
        for way in order:
            found[way.key] = beside(place, options, way, results.failures)
            service = found[way.key].service
            tell(f"{label}, {way.title}: {service.rate:.1f} commits/s, p99 {service.p99 * 1000:.1f} ms")
        restore_all(place, order, found, results.failures)
        for way in order:
            if found[way.key].restores:
                tell(f"{label}, {way.title}: restored in {restored(found[way.key]):.2f} s")
            place.drop(way.key)


def in_turn(ways: list[Way], number: int) -> list[Way]:
    """Each round begins with another one."""
    first = number % len(ways)
    return ways[first:] + ways[:first]


def beside(place: Place, options: argparse.Namespace, way: Way, failures: list[str]) -> Side:
    """The load beside one archiver, which then gets to finish. Leaves the directory for the restores."""
    folder = place.fresh(way.key)
    database = folder / DATABASE
    shutil.copyfile(place.database, database)
    os.sync()
    way.prepare(folder)
    with archiver(place, f"archiver-{way.key}", way.words(folder), database) as watched:
        wait_until_ready(way, folder, watched)
        time.sleep(SETTLE)
        with crew(place) as started:
            start_writers(started, database, rate=options.rate, count=options.writers, seed=options.seed)
            started.wait(START + SETTLE)
            span = started.wait(options.seconds)
            logs = list(started.end().values())
        ended = watched.end()
        looks, all_looks = within(watched.looks, span), watched.looks
        if ended.exit_code != way.exit_code:
            raise WrongResultError(f"{way.title} ended with exit code {ended.exit_code}:\n{watched.last_words()}")
    diary = merged(logs)
    side = Side(
        service=diary.service([span]),
        events=sum(log["events"] for log in logs),
        busy=sum(log["cpu"] for log in logs),
        cpu=looks[-1].cpu - looks[0].cpu,
        cpu_life=ended.cpu,
        anonymous=max(look.anonymous for look in looks),
        anonymous_life=max(look.anonymous for look in all_looks),
        wal=max(look.wal for look in looks),
        ending=ended.seconds,
        stored=tree_size(folder / STORED),
        aside=aside_size(way, folder),
        added=archive_compare.added(database, place.database),
    )
    failures += (f"{way.title}: {problem}" for problem in problems(place, way, folder, side))
    if diary.errors:
        failures.append(f"{way.title}: the writers had {len(diary.errors)} errors, the first: {diary.errors[0][1]}")
    return side


def wait_until_ready(way: Way, folder: Path, watched: Archiver) -> None:
    """Until the first copy of the database is stored. WrongResultError when that does not come."""
    begun = time.monotonic()
    while not way.ready(folder):
        watched.require_alive()
        if time.monotonic() - begun > READY_LIMIT:
            raise WrongResultError(f"{way.title} has no copy after {READY_LIMIT:.0f} s:\n{watched.last_words()}")
        time.sleep(0.2)


def problems(place: Place, way: Way, folder: Path, side: Side) -> list[str]:
    """What is wrong before anything is restored."""
    found = []
    here, expected = archive_compare.events(folder / DATABASE), archive_compare.events(place.database) + side.events
    if here != expected:
        found.append(f"the database has {here} events, and {expected} were committed")
    said = way.problem(folder)
    if said:
        found.append(said)
    if side.added and way.key != "litestream":
        found.append(f"the schema was changed: {', '.join(side.added)}")
    return found


def restore_all(place: Place, ways: list[Way], found: Round, failures: list[str]) -> None:
    """Restores, in turn; the last of each kind is compared with the live database."""
    for turn in range(RESTORES + 1):
        for way in ways:
            folder, side = place.folder / way.key, found[way.key]
            for kind, make, usages in (
                ("restore", way.restore, side.restores),
                ("restore-checked", way.restore_checked, side.checked),
            ):
                name = f"{kind}-{way.key}"
                words = make(folder, place.folder / name / DATABASE)
                if not words:
                    continue
                usage: Usage = place.must_run(words, place.fresh(name))
                if turn:
                    usages.append(usage)
                if turn == RESTORES:
                    wrong = archive_compare.unequal(place.folder / name / DATABASE, folder / DATABASE)
                    if wrong:
                        failures.append(f"restored by {way.title} ({kind}): {wrong}")
                place.drop(name)


def tell(text: str) -> None:
    """Progress, for whoever watches."""
    print(f"{text} [load {os.getloadavg()[0]:.2f}]", file=sys.stderr, flush=True)
