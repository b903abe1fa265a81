# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""``scripts/soak``: the archiver beside an application that does all that an application may do, for a long time.

Samples every few seconds; in the end no gap, a bounded WAL, flat memory, and a restore that equals the live database
row for row, or exit code 1.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from sample_events import byte_size

from litekeep.config import ArchiveSettings

from . import archive_compare, machine, soak_report
from .archive import tell, wait_until_ready
from .archive_load import START, Crew, crew, merged, start_writers
from .archive_watch import Archiver, archiver, file_size, growing_size, wal_frames
from .archive_ways import DATABASE, STORED, Litekeep, answer, archive_status
from .backup import _positive as positive
from .backup import _size as size
from .backup import make_database
from .measure import Usage
from .place import Place, WrongResultError, require_writable, workplace
from .soak_results import Sample, SoakResults, judge, published, summed_up

SUMMARY = "litekeep archive beside an application that checkpoints by itself: gaps, WAL, memory, final restore"
GROWTH = 3e6  # bytes that a second adds to the repository at most, at 200 commits/s


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--minutes", type=positive(float), default=20.0, help="length of the load (default 20)")
    parser.add_argument("--rate", type=positive(float), default=200.0, help="commits a second, all writers (200)")
    parser.add_argument("--writers", type=positive(int), default=3, help="how many share them (default 3)")
    parser.add_argument(
        "--checkpoints", type=positive(float), default=5.0, help="seconds between the application's own, on average (5)"
    )
    parser.add_argument(
        "--relief", type=byte_size, default=ArchiveSettings().relief, help="Litekeep's setting of that name (its own)"
    )
    parser.add_argument("--every", type=positive(float), default=5.0, help="seconds between two samples (default 5)")
    parser.add_argument("--size", type=size, default=10**8, help="size of the database before (default 100MB)")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other work (default 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this empty directory and leave it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples, unrounded, to this file")


def run(options: argparse.Namespace) -> int:
    """Soak, print, and return 1 when something does not hold."""
    machine.require_commands()
    require_writable(options.json)
    needed = options.size * 6 + GROWTH * 60 * options.minutes * max(1.0, options.rate / 200)
    with workplace(options.keep, int(needed)) as place:
        results = SoakResults(machine.describe(place.folder), _plain(options), options.relief)
        try:
            soak(place, options, results)
        except WrongResultError as problem:
            results.failures.append(str(problem))
    print("\n".join(soak_report.lines(results)), flush=True)
    if options.json:
        options.json.write_text(json.dumps(published(results), indent=2) + "\n", encoding="utf-8")
    return 1 if results.failures or not all(verdict.holds for verdict in results.verdicts) else 0


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    return {
        key: getattr(options, key)
        for key in ("minutes", "rate", "writers", "checkpoints", "every", "relief", "size", "seed")
    }


def soak(place: Place, options: argparse.Namespace, results: SoakResults) -> None:
    """All of it; fills ``results``, also when it does not come to its end."""
    tell(f"making a database of {options.size / 1e6:.0f} MB")
    make_database(place, options.size, options.seed, "requests")
    folder = place.fresh("soak")
    database = folder / DATABASE
    shutil.copyfile(place.database, database)
    way = Litekeep({"relief": options.relief})
    way.prepare(folder)
    with archiver(place, "archiver", way.words(folder), database) as watched:
        wait_until_ready(way, folder, watched)
        with crew(place) as started:
            start_writers(
                *(started, database),
                rate=options.rate,
                count=options.writers,
                seed=options.seed,
                module="benchlib.soak_writer",
            )
            started.start(
                *("checkpoints", "benchlib.soak_checkpoints", database, options.checkpoints),
                *(started.log_of("checkpoints"), options.seed),
            )
            started.wait(START)
            begun = time.monotonic()
            watch(place, options, watched, started, results)
            span = (begun, time.monotonic())
            logs = started.end()
        ended = watched.end()
    keeper = logs["checkpoints"]
    diary = merged(logs.values())
    results.service = diary.service([span])
    results.events = sum(log.get("events", 0) for log in logs.values())
    results.checkpoints = summed_up(keeper["checkpoints"])
    results.largest_wal = max(look.wal for look in watched.looks)
    results.life, results.ending = ended.cpu, ended.seconds
    results.failures += (f"the application's own checkpoint failed: {text}" for _moment, text in keeper["failures"])
    results.failures += (f"a writer failed: {text}" for _moment, text in diary.errors[:5])
    catalogue = answer(folder, "list")
    results.segments = sum(timeline["segments"] for timeline in catalogue["timelines"])
    results.verdicts = judge(results, difference(place, way, folder, results), way.problem(folder), ended.exit_code)


def watch(place: Place, options: argparse.Namespace, watched: Archiver, started: Crew, results: SoakResults) -> None:
    """Take samples until the time is over. WrongResultError when the archiver ends before."""
    folder = place.folder / "soak"
    begun = time.monotonic()
    due, told, length = begun, begun, options.minutes * 60
    while time.monotonic() - begun < length:
        due += options.every
        started.wait(max(0.0, min(due, begun + length) - time.monotonic()))
        watched.require_alive()
        results.samples.append(sample(folder, watched, begun))
        if time.monotonic() - told >= 60:
            told = time.monotonic()
            last = results.samples[-1]
            tell(f"{last.at:.0f} s: WAL {last.wal / 1e6:.1f} MB, memory {last.own / 1e6:.1f} MB, {last.gaps} gaps")


def sample(folder: Path, watched: Archiver, begun: float) -> Sample:
    """Look at everything. ``begun``: the moment from which time is counted."""
    database = folder / DATABASE
    frames = wal_frames(Path(f"{database}-shm"))
    seen = watched.looks[-1]
    now = time.monotonic()
    status = archive_status(folder)
    return Sample(
        at=now - begun,
        frames=None if frames is None else frames[0],
        waiting=None if frames is None else frames[0] - frames[1],
        wal=file_size(Path(f"{database}-wal")),
        own=seen.own,
        everyone=seen.anonymous,
        cpu=seen.cpu,
        stored=growing_size(folder / STORED),
        gaps=status.get("gaps", 0),
        lag=lag(status.get("proven_until")),
        problem=status.get("problem") or (None if status.get("running") else "the archive does not run"),
    )


def lag(proven: str | None) -> float | None:
    """Seconds since a moment written as in Litekeep's answers."""
    if proven is None:
        return None
    return (dt.datetime.now(dt.timezone.utc) - dt.datetime.fromisoformat(proven.replace("Z", "+00:00"))).total_seconds()


def difference(place: Place, way: Litekeep, folder: Path, results: SoakResults) -> str | None:
    """Restore the newest state, and compare it with the live database; None when they are equal."""
    restored = place.fresh("restored") / DATABASE
    os.sync()
    usage: Usage = place.run(way.restore(folder, restored), restored.parent)
    if usage.exit_code:
        told = place.log(restored.parent.name).read_text(errors="replace").strip()[-1500:]
        return f"it ended with exit code {usage.exit_code}: {told}"
    results.restore = usage.wall
    return archive_compare.unequal(restored, folder / DATABASE)
