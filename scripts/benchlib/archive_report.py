# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The printed report of ``scripts/bench archive``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from . import table
from .archive_results import PAIRS, RATIOS, complete, paired, restored, restored_checked, restored_cpu
from .measure import INTERVAL
from .stats import spread

if TYPE_CHECKING:
    from .archive_results import ArchiveResults, Figure, Ratio, Side
    from .table import Unit

NOTES = f"""\
Medians of the rounds (smallest to largest); ratios are taken within each round. Each round is the same load on a \
fresh copy of the same database, one way after the other, in another order; all that went before is on disk by then.
The application's settings: WAL, synchronous=NORMAL, automatic checkpoints as SQLite sets them, a busy timeout of 5 s. \
Litestream's guide advises to switch automatic checkpoints off; that changes the application, and was not done.
Late by: from the moment a commit was due until it was done, so that a stall counts for all that it delays. Writers \
that are late catch up.
CPU and memory are the archiver's with its children, while the application was at work; life: from start to end, with \
the first copy of the database. Memory is the highest sum of RssAnon in looks every {INTERVAL * 1000:.0f} ms.
Stored size includes that first copy. Litestream keeps another copy of what is recent beside the database.
Restore: of the newest state to another path, median of the round's restores. Litekeep's includes integrity_check and \
foreign_key_check, Litestream's does not, except in the line "restore with a check" (-integrity-check full).
"""


def short(value: float, unit: str = "") -> str:
    """Three digits that matter, so that three columns fit."""
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {unit}".rstrip()


def milliseconds(value: float) -> str:
    """A short duration given in seconds."""
    return short(value * 1000, "ms")


def seconds(value: float) -> str:
    """A duration given in seconds."""
    return short(value, "s")


def megabytes(value: float) -> str:
    """A size given in bytes; decimal megabytes."""
    return short(value / 1e6, "MB")


def lines(results: ArchiveResults) -> list[str]:
    """The whole report; sections that were not reached are left out."""
    found = table.titled("The application beside no archiver, Litekeep and Litestream")
    found += table.named(results.machine)
    options = results.options
    if results.database:
        size, last = results.database["bytes"], results.database["last_event"]
        found += table.named({"database": f"{size / 1e6:.1f} MB, {last} events, seed {options['seed']}"})
        load = f"{options['writers']} writers, {options['rate']:g} commits/s together, {options['seconds']:g} s"
        found += table.named({"load": load})
    # Only whole rounds are summed up: one side alone compares with nothing.
    rounds = [one for one in results.rounds if one.keys() == results.ways.keys() and all(map(complete, one.values()))]
    if rounds:
        sides = {title: [one[key] for one in rounds] for key, title in results.ways.items()}
        found += table.titled(f"Figures: {len(rounds)} rounds")
        found += table.columns(list(sides), cells(sides))
        found += table.titled("Ratios within the rounds")
        found += ratio_lines(results)
        found += schema_lines(results.ways, rounds[-1])
    found += table.titled("Notes")
    for note in NOTES.splitlines():
        found += table.wrapped("- " + note)
    return found + verdict_lines(results)


def verdict_lines(results: ArchiveResults) -> list[str]:
    """Right or wrong, as in the other benchmarks."""
    if not results.failures:
        return ["", "All results were right."]
    return ["", *(f"WRONG: {failure}" for failure in results.failures)]


def cells(sides: dict[str, list[Side]]) -> dict[str, list[str]]:
    """The rows of the figures: one cell for each way."""
    rows: list[tuple[str, Unit, Figure, Callable[[Side], bool]]] = [
        ("commits/s", lambda value: f"{value:.1f}", lambda side: side.service.rate, _always),
        ("  late by, p50", milliseconds, lambda side: side.service.p50, _always),
        ("  late by, p99", milliseconds, lambda side: side.service.p99, _always),
        ("  late by, worst", milliseconds, lambda side: side.service.worst, _always),
        ("  commit alone, p99", milliseconds, lambda side: side.service.commit_p99, _always),
        ("  errors", lambda value: f"{value:.0f}", lambda side: side.service.errors, _always),
        ("  the writers' CPU", seconds, lambda side: side.busy, _always),
        ("largest WAL", megabytes, lambda side: side.wal, _always),
        ("CPU under load", seconds, lambda side: side.cpu, _archived),
        ("CPU, life", seconds, lambda side: side.cpu_life, _archived),
        ("memory under load", megabytes, lambda side: side.anonymous, _archived),
        ("memory, life", megabytes, lambda side: side.anonymous_life, _archived),
        ("stored size", megabytes, lambda side: side.stored, _archived),
        ("  beside the database", megabytes, lambda side: side.aside, _archived),
        ("end after SIGTERM", seconds, lambda side: side.ending, _archived),
        ("restore", seconds, restored, _archived),
        ("  CPU", seconds, restored_cpu, _archived),
        ("restore with a check", seconds, restored_checked, _archived),
    ]
    return {
        label: [
            table.ranged(spread([figure(side) for side in of]), unit) if all(map(fits, of)) else "-"
            for of in sides.values()
        ]
        for label, unit, figure, fits in rows
    }


def _always(_side: Side) -> bool:
    return True


def _archived(side: Side) -> bool:
    return bool(side.restores)


def ratio_lines(results: ArchiveResults) -> list[str]:
    """A row for each figure, a column for each pair of ways; then what was aimed at."""
    pairs = [pair for pair in PAIRS if set(pair) <= results.ways.keys()]
    heading = [f"{results.ways[key]} / {short_title(results.ways, other)}" for key, other in pairs]
    rows: dict[str, list[str]] = {}
    for ratio in RATIOS:
        if (ratio.key, ratio.other) in pairs:
            row = rows.setdefault(ratio.label, ["-"] * len(pairs))
            row[pairs.index((ratio.key, ratio.other))] = ratio_text(paired(results.rounds, ratio))
    aims = [aim_text(results, ratio, ratio.aim) for ratio in RATIOS if ratio.aim and (ratio.key, ratio.other) in pairs]
    return [*table.columns(heading, rows), *([""] if aims else []), *aims]


def short_title(ways: dict[str, str], key: str) -> str:
    """A heading has no room for more."""
    return "none" if key == "none" else ways[key]


def ratio_text(values: Sequence[float]) -> str:
    """For example ``1.05 (0.98 to 1.12)``."""
    return table.ranged(spread(values), short) if values else "-"


def aim_text(results: ArchiveResults, ratio: Ratio, limit: float) -> str:
    """An aim, for information, and whether the median is within it."""
    values = paired(results.rounds, ratio)
    met = "not measured" if not values else "met" if spread(values).median <= limit else "NOT met"
    what = f"{ratio.label}, {results.ways[ratio.key]} / {short_title(results.ways, ratio.other)}"
    return f"aim: {what}: at most {limit:g}: {met}, {ratio_text(values)}"


def schema_lines(ways: dict[str, str], one: dict[str, Side]) -> list[str]:
    """What an archiver has put into the user's database."""
    texts = {key: ", ".join(side.added) or "nothing" for key, side in one.items() if _archived(side)}
    return ["", *(f"added to the database's schema by {ways[key]}: {texts[key]}" for key in ways if key in texts)]
