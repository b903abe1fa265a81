# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The printed report of ``scripts/soak``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import table
from .archive_report import megabytes, milliseconds, seconds
from .stats import spread

if TYPE_CHECKING:
    from .soak_results import Sample, SoakResults

ROWS = 20  # of the table; the JSON has all samples
HEADING = ("time", "WAL in use", "WAL file", "memory", "children", "CPU", "stored", "proven", "gaps")
WIDTHS = (9, 12, 11, 11, 11, 9, 11, 12, 6)
NOTES = """\
Memory is the archiver's RssAnon, children that of the processes it has started besides; CPU is what all of them took \
since the start. WAL in use counts frames since its last reset; the file keeps the size of the largest round. Proven: \
how long ago the last moment was that can be restored.
Late by: from the moment a commit was due until it was done, so that a stall counts for all that it delays.
A checkpoint of the kinds FULL, RESTART and TRUNCATE waits for readers and holds up writers while it does, with any \
reader; incomplete: SQLite answered that it was kept from doing all.
"""


def lines(results: SoakResults) -> list[str]:
    """The whole report; sections that were not reached are left out."""
    options = results.options
    found = table.titled("Soak: litekeep archive beside an application that checkpoints by itself")
    found += table.named(results.machine)
    load = f"{options['writers']} writers, {options['rate']:g} commits/s together, {options['minutes']:g} min"
    found += table.named({"load": load, "own checkpoints": f"every {options['checkpoints']:g} s on average"})
    if results.samples:
        found += table.titled(f"Samples: {len(results.samples)}, of which")
        found += [cells(HEADING)]
        found += [cells(row(sample, results.page_size)) for sample in chosen(results.samples)]
    if results.service:
        found += table.titled("The application")
        found += application(results)
    if results.verdicts:
        found += table.titled("What has to hold")
        for verdict in results.verdicts:
            found += table.named({verdict.what: f"{'yes' if verdict.holds else 'NO'}: {verdict.told}"})
    found += table.titled("Notes")
    for note in NOTES.splitlines():
        found += table.wrapped("- " + note)
    wrong = [*results.failures, *(f"{one.what}: {one.told}" for one in results.verdicts if not one.holds)]
    return [*found, "", *([f"WRONG: {text}" for text in wrong] or ["All results were right."])]


def chosen(samples: Sequence[Sample], count: int = ROWS) -> list[Sample]:
    """At most ``count``, evenly spread; the first and the last are among them."""
    if len(samples) <= count:
        return list(samples)
    return [samples[round(number * (len(samples) - 1) / (count - 1))] for number in range(count)]


def row(sample: Sample, page_size: int) -> list[str]:
    """One sample in the order of HEADING."""
    frame = page_size + 24
    return [
        f"{sample.at:.0f} s",
        "-" if sample.frames is None else megabytes(sample.frames * frame),
        megabytes(sample.wal),
        megabytes(sample.own),
        megabytes(sample.everyone - sample.own),
        seconds(sample.cpu),
        megabytes(sample.stored),
        "-" if sample.lag is None else f"{sample.lag:.1f} s ago",
        str(sample.gaps),
    ]


def cells(texts: Sequence[str]) -> str:
    """A line of the samples' table."""
    return "".join(f"{text:>{width}}" for text, width in zip(texts, WIDTHS))


def application(results: SoakResults) -> list[str]:
    """What it got, and what became of its checkpoints."""
    service = results.service
    assert service is not None  # the caller has looked
    found = table.named(
        {
            "commits": f"{service.commits}, {service.rate:.1f} a second, {service.errors} errors",
            "late by": f"p50 {milliseconds(service.p50)}, p99 {milliseconds(service.p99)}, "
            f"worst {milliseconds(service.worst)}",
        }
    )
    for kind in results.checkpoints:
        took = table.ranged(kind.took, milliseconds)
        found += table.named({kind.kind: f"{kind.count} checkpoints, {kind.busy} incomplete, {took}"})
    if results.samples:
        in_use = [sample.frames for sample in results.samples if sample.frames is not None]
        frame = results.page_size + 24
        if in_use:
            found += table.named({"WAL in use": table.ranged(spread([one * frame for one in in_use]), megabytes)})
    restored = "-" if results.restore is None else seconds(results.restore)
    found += table.named(
        {
            "the archiver": f"{seconds(results.life)} of processor time, {results.segments} segments, ended in "
            f"{seconds(results.ending)}, restored in {restored}"
        }
    )
    return found
