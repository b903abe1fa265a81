# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""``scripts/bench backup``: full backups and their restore against the recipe that everybody writes.

First at rest, in pairs; then the restore of one stored backup, in pairs; then beside a writer, where every copy of
Litekeep's is restored and compared with what the writer committed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sample_events import SHAPES, byte_size

from . import backup_report, compare, machine
from .load import Diary, Load, Span, load
from .place import NAME, SCRIPTS, Place, WrongResultError, litekeep, require_writable, tree_size, workplace
from .results import Attempt, Pair, Proof, Results, Run

SUMMARY = "full backup and restore against sqlite3 .backup, integrity_check, zstd -3; idle and beside a writer"

# mark costs no process; /proc/uptime counts hundredths of a second.
MARK = """\
set -eu
mark() { read -r now rest </proc/uptime; echo "$1 $now" >>stages; }
mark start
"""
RECIPE = f"""\
# The plain recipe: copy, check, compress.
{MARK}sqlite3 "$1" ".backup copy.db"
mark copy
test "$(sqlite3 copy.db 'PRAGMA integrity_check')" = ok
mark check
zstd -3 -q copy.db -o copy.db.zst
mark compress
"""
RECIPE_RESTORE = f"""\
# The plain way back: decompress, check.
{MARK}zstd -d -q "$1" -o restored.db
mark decompress
test "$(sqlite3 restored.db 'PRAGMA integrity_check')" = ok
mark check
"""
ALONE = 5.0  # seconds that the writer is watched alone
SETTLE = 1.0  # seconds that it gets to catch up after a disturbance that is not measured
SMALLEST = 10**6  # bytes; below, only the start of the processes would be measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--size", type=_size, default=10**9, help="size of the database (default 1GB)")
    parser.add_argument("--runs", type=_positive(int), default=3, help="pairs after the warm-up (default 3)")
    parser.add_argument("--shape", choices=SHAPES, default=SHAPES[0], help="what is indexed, see sample_events.py")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other events (default 1)")
    parser.add_argument("--rate", type=_positive(float), default=200.0, help="the writer's commits a second (200)")
    parser.add_argument(
        "--limit", type=_positive(float), default=60.0, help="seconds until the recipe's .backup is given up (60)"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this empty directory and leave it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, unrounded, to this file")


def _size(text: str) -> int:
    size = byte_size(text)
    if size < SMALLEST:
        raise argparse.ArgumentTypeError(f"it has to be at least {SMALLEST / 1e6:.0f}MB")
    return size


def _positive(kind: Callable[[str], float]) -> Callable[[str], Any]:
    def number(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError("it has to be more than 0")
        return value

    return number


def run(options: argparse.Namespace) -> int:
    """Measure, print, and return 1 when a result was wrong."""
    machine.require_commands()
    # Beside the database: its copy and both stored files, and while it is measured the staged or restored copy.
    needed = options.size * (5 + 0.4 * options.runs)
    require_writable(options.json)
    with workplace(options.keep, int(needed)) as place:
        results = Results(machine.describe(place.folder), _plain(options))
        try:
            _measure(place, options, results)
        except WrongResultError as problem:
            results.failures.append(str(problem))
    print("\n".join(backup_report.lines(results)), flush=True)
    if options.json:
        options.json.write_text(json.dumps(_published(results), indent=2) + "\n", encoding="utf-8")
    return 1 if results.failures else 0


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    return {key: getattr(options, key) for key in ("size", "shape", "runs", "seed", "rate", "limit")}


def _published(results: Results) -> dict[str, Any]:
    return {"format": {"name": "litekeep-bench", "version": 1}, "command": "backup", **dataclasses.asdict(results)}


def _measure(place: Place, options: argparse.Namespace, results: Results) -> None:
    for name, script in (("recipe.sh", RECIPE), ("recipe-restore.sh", RECIPE_RESTORE)):
        (place.folder / name).write_text(script)
    _tell(f"making a database of {options.size / 1e6:.0f} MB")
    make_database(place, options.size, options.seed, options.shape)
    results.database = {"bytes": place.database.stat().st_size, "last_event": compare.last_event(place.database)}
    idle(place, options.runs, results)
    restores(place, options.runs, results)
    beside_a_writer(place, options, results)


def make_database(place: Place, size: int, seed: int, shape: str) -> None:
    """The events of ``scripts/sample_events.py``, in a process of its own: this one stays small."""
    place.must_run(
        [
            *(sys.executable, SCRIPTS / "sample_events.py", place.database),
            *("--size", str(size), "--seed", str(seed), "--shape", shape),
        ],
        place.fresh("generate"),
    )


def recipe_backup(place: Place, name: str) -> Run:
    """The plain recipe; stored is the compressed file, the copy could be deleted."""
    folder = place.fresh(name)
    usage = place.must_run(["sh", place.folder / "recipe.sh", place.database], folder)
    return Run(usage, (folder / "copy.db.zst").stat().st_size, stages(folder))


def stages(folder: Path) -> dict[str, float]:
    """What the recipe noted in ``folder``: seconds from one mark to the next."""
    marks = [line.split() for line in (folder / "stages").read_text().splitlines()]
    return {name: float(now) - float(before) for (_name, before), (name, now) in zip(marks, marks[1:])}


def litekeep_backup(place: Place, name: str) -> Run:
    """Litekeep's backup into a new repository; stored is all that it left there."""
    folder = place.fresh(name)
    usage = place.must_run(litekeep(folder / "repository", place.database, "backup", NAME), folder)
    return Run(usage, tree_size(folder / "repository"))


def recipe_restore(place: Place, name: str, stored: Path) -> Run:
    """``zstd -d`` and ``integrity_check``."""
    folder = place.fresh(name)
    return Run(place.must_run(["sh", place.folder / "recipe-restore.sh", stored], folder), stages=stages(folder))


def litekeep_restore(place: Place, name: str, repository: Path) -> Run:
    """Litekeep's restore to another path."""
    folder = place.fresh(name)
    words = litekeep(repository, place.database, "restore", NAME, "--target", folder / "restored.db")
    return Run(place.must_run(words, folder))


def paired(what: str, runs: int, theirs: Callable[[], Run], ours: Callable[[], Run], pairs: list[Pair]) -> None:
    """A warm-up of each, then ``runs`` pairs, in turn; appends them to ``pairs``."""
    for turn in range(runs + 1):
        pair = Pair(theirs(), ours())
        label = f"pair {turn} of {runs}" if turn else "warm-up"
        recipe, litekeep = pair.recipe.usage.wall, pair.litekeep.usage.wall
        _tell(f"{what}, {label}: recipe {recipe:.2f} s, Litekeep {litekeep:.2f} s, ratio {litekeep / recipe:.2f}")
        if turn:
            pairs.append(pair)


def idle(place: Place, runs: int, results: Results) -> None:
    """Nobody writes. Leaves Litekeep's last repository in ``backup-litekeep``."""
    paired(
        "backup, idle",
        runs,
        lambda: recipe_backup(place, "backup-recipe"),
        lambda: litekeep_backup(place, "backup-litekeep"),
        results.idle,
    )


def restores(place: Place, runs: int, results: Results) -> None:
    """Both restore the same stored file, and the restored database has to equal the source."""
    place.drop("backup-recipe")
    repository = place.folder / "backup-litekeep" / "repository"
    (stored,) = repository.rglob("*.db.zst")
    paired(
        "restore",
        runs,
        lambda: recipe_restore(place, "restore-recipe", stored),
        lambda: litekeep_restore(place, "restore-litekeep", repository),
        results.restore,
    )
    restored = place.folder / "restore-litekeep" / "restored.db"
    # Both ways: the comparison itself looks only as far as its first database goes.
    for copy, live in ((restored, place.database), (place.database, restored)):
        wrong = compare.difference(copy, live)
        if wrong:
            results.failures.append(f"restored by Litekeep, idle: {wrong}")
    for name in ("restore-recipe", "restore-litekeep", "backup-litekeep"):
        place.drop(name)


def beside_a_writer(place: Place, options: argparse.Namespace, results: Results) -> None:
    """The recipe's .backup until it is done or given up, and Litekeep's backup, in turn; then the proofs."""
    place.pause = SETTLE
    spans: dict[str, list[Span]] = {"alone": [], "recipe": [], "litekeep": []}
    with load(place, options.rate) as writer:
        writer.wait(SETTLE)
        spans["alone"].append(writer.wait(ALONE))
        for turn in range(1, options.runs + 1):
            attempt = recipe_attempt(place, options.limit)
            results.attempts.append(attempt)
            spans["recipe"].append((attempt.usage.begun, attempt.usage.ended))
            done = litekeep_backup(place, f"load-litekeep-{turn}")
            results.loaded.append(done)
            spans["litekeep"].append((done.usage.begun, done.usage.ended))
            told = f"done in {attempt.usage.wall:.2f} s" if attempt.finished else f"not done in {options.limit:.0f} s"
            _tell(f"under load, {turn} of {options.runs}: .backup {told}, Litekeep {done.usage.wall:.2f} s")
        place.drop("load-recipe")
        diary = writer.end()
    place.pause = 0.0
    results.writer = {name: diary.service(times) for name, times in spans.items()}
    if diary.errors:
        results.failures.append(f"the writer had {len(diary.errors)} errors, the first: {diary.errors[0][1]}")
    for turn, done in enumerate(results.loaded, start=1):
        proof = proven(place, writer, diary, done, f"load-litekeep-{turn}")
        results.proofs.append(proof)
        _tell(f"under load, {turn} of {options.runs}: restored and compared, {proof.difference or 'equal'}")
        if proof.difference:
            results.failures.append(f"restored by Litekeep, copied under load: {proof.difference}")


def recipe_attempt(place: Place, limit: float) -> Attempt:
    """The recipe's first step; given up after ``limit`` seconds."""
    folder = place.fresh("load-recipe")
    usage = place.run(["sqlite3", place.database, ".backup copy.db"], folder, limit=limit)
    size = place.database.stat().st_size
    copy = folder / "copy.db"
    reached = copy.stat().st_size if copy.exists() else 0
    return Attempt(usage, None if usage.read is None else usage.read / size, reached / size)


def proven(place: Place, writer: Load, diary: Diary, done: Run, name: str) -> Proof:
    """Restore what was copied beside the writer, and compare it with what the writer committed."""
    litekeep_restore(place, "load-restore", place.folder / name / "repository")
    restored = place.folder / "load-restore" / "restored.db"
    events, notes = compare.live_rows(restored, writer.first)
    earliest, latest = diary.committed(done.usage.begun), diary.begun(done.usage.ended)
    wrong = compare.difference(restored, place.database)
    if wrong is None and events != notes:
        wrong = f"{events} live events, but {notes} of their notes: no committed state"
    if wrong is None and not earliest <= events <= latest:
        wrong = f"{events} live events, expected {earliest} to {latest}: no state from during the backup"
    last = compare.last_event(restored)
    place.drop("load-restore")
    return Proof(last, events, wrong)


def _tell(text: str) -> None:
    load_average = os.getloadavg()[0]
    print(f"{text} [load {load_average:.2f}]", file=sys.stderr, flush=True)
