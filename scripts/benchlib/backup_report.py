# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The printed report of ``scripts/bench backup``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from . import table
from .measure import INTERVAL
from .stats import spread
from .table import Row, Unit

if TYPE_CHECKING:
    from .load import Service
    from .results import Attempt, Pair, Results, Run

FIGURES: tuple[tuple[str, Unit, Callable[[Run], float]], ...] = (
    ("wall time", table.seconds, lambda run: run.usage.wall),
    ("CPU time", table.seconds, lambda run: run.usage.cpu),
    ("memory, anonymous", table.megabytes, lambda run: run.usage.anonymous),
    ("memory, all resident", table.megabytes, lambda run: run.usage.resident),
    ("stored size", table.megabytes, lambda run: run.stored),
)
NOTES = f"""\
Medians (smallest to largest); ratios are taken pair by pair. Runs alternate, after a warm-up of each; all that went \
before is on disk by then.
Memory is the highest of looks every {INTERVAL * 1000:.0f} ms: anonymous is RssAnon, summed over the recipe's \
processes; resident is VmHWM, with mapped file pages, and Litekeep maps the copy while it checks it.
The recipe does not sync what it compresses or restores, and reads nothing back; Litekeep syncs, reads back, hashes, \
and checks foreign keys.
The writer's lateness is from the moment a commit was due until it was done: a stall counts for all that it delays.
Aims, for information: wall time at most 0.55 of the recipe's when nobody writes; restore at most 0.35; anonymous \
memory below 200 MB.
"""


def lines(results: Results) -> list[str]:
    """The whole report; sections that were not reached are left out."""
    found = table.titled("Litekeep against the plain recipe: sqlite3 .backup, integrity_check, zstd -3")
    found += table.named(results.machine)
    if results.database:
        size, last = results.database["bytes"], results.database["last_event"]
        made = f"shape {results.options['shape']}, seed {results.options['seed']}"
        found += table.named({"database": f"{size / 1e6:.1f} MB, {last} events, {made}"})
    if results.idle:
        found += table.titled(f"Backup, nobody writes: {len(results.idle)} pairs")
        found += pairs(results.idle, FIGURES)
    if results.restore:
        found += table.titled(
            f"Restore of a verified full, recipe: zstd -d, integrity_check: {len(results.restore)} pairs"
        )
        found += pairs(results.restore, FIGURES[:-1])
    if results.writer:
        found += beside_a_writer(results)
    found += table.titled("Notes")
    for note in NOTES.splitlines():
        found += table.wrapped("- " + note)
    return found + verdict(results)


def pairs(measured: Sequence[Pair], figures: Sequence[tuple[str, Unit, Callable[[Run], float]]]) -> list[str]:
    """Both sides of every figure."""
    rows = [
        Row(label, unit, [value(pair.recipe) for pair in measured], [value(pair.litekeep) for pair in measured])
        for label, unit, value in figures
    ]
    return table.compared(rows, "recipe", "Litekeep") + recipe_stages([pair.recipe for pair in measured])


def recipe_stages(runs: Sequence[Run]) -> list[str]:
    """Where the recipe's time goes: how long integrity_check takes depends on the data, and decides the ratio."""
    medians = {name: spread([run.stages[name] for run in runs]).median for name in runs[0].stages}
    text = ", ".join(f"{name} {table.seconds(value)}" for name, value in medians.items())
    return table.named({"the recipe's steps": text}) if text else []


def beside_a_writer(results: Results) -> list[str]:
    """What became of both, what the writer noticed, and what the copies were worth."""
    found = table.titled(
        f"Backup beside a writer of {results.options['rate']:g} commits/s: {len(results.loaded)} of each"
    )
    found += table.named({"recipe's .backup": attempts(results.attempts, results.options["limit"])})
    found += table.named({"Litekeep": f"done in {len(results.loaded)} of {len(results.loaded)} runs"})
    for label, unit, value in FIGURES:
        figures = [value(run) for run in results.loaded]
        text = table.ranged(spread(figures), unit)
        if label == "wall time" and results.idle:
            idle = spread([value(pair.litekeep) for pair in results.idle]).median
            text += f", {spread(figures).median / idle:.2f} of idle"
        found += table.named({f"  {label}": text})
    equal = sum(proof.difference is None for proof in results.proofs)
    live = ", ".join(str(proof.live) for proof in results.proofs)
    found += table.named(
        {"  restored": f"{equal} of {len(results.loaded)} equal a committed state row for row (live events: {live})"}
    )
    return [*found, "", *service(results.writer)]


def attempts(made: Sequence[Attempt], limit: float) -> str:
    """How far the recipe's first step came."""
    done = [attempt for attempt in made if attempt.finished]
    given_up = [attempt for attempt in made if attempt.usage.timed_out]
    words = []
    if done:
        took = table.ranged(spread([attempt.usage.wall for attempt in done]), table.seconds)
        words.append(f"done in {len(done)} of {len(made)} runs, in {took}")
    if given_up:
        words.append(f"not done after {limit:g} s in {len(given_up)} of {len(made)} runs")
        words.append(f"its copy had {100 * max(attempt.reached for attempt in given_up):.0f} % of the size at most")
    if len(done) + len(given_up) < len(made):
        words.append(f"failed in {len(made) - len(done) - len(given_up)} of {len(made)} runs")
    passes = [attempt.passes for attempt in made if attempt.passes is not None]
    if passes:
        words.append(f"read {table.ranged(spread(passes), table.plain)} times the database (one pass: once)")
    return "; ".join(words)


def service(writer: dict[str, Service]) -> list[str]:
    """What the application got, by what stood beside it."""
    columns = [writer[name] for name in ("alone", "recipe", "litekeep")]
    return table.columns(
        ["alone", "beside .backup", "beside Litekeep"],
        {
            "the writer: commits/s": [f"{got.rate:.1f}" for got in columns],
            "  late by, p50": [table.milliseconds(got.p50) for got in columns],
            "  late by, p99": [table.milliseconds(got.p99) for got in columns],
            "  late by, worst": [table.milliseconds(got.worst) for got in columns],
            "  commit alone, p50": [table.milliseconds(got.commit_p50) for got in columns],
            "  commit alone, p99": [table.milliseconds(got.commit_p99) for got in columns],
            "  errors": [str(got.errors) for got in columns],
        },
    )


def verdict(results: Results) -> list[str]:
    """Right or wrong; how fast is no question of that."""
    if not results.failures:
        return ["", "All results were right."]
    return ["", *(f"WRONG: {failure}" for failure in results.failures)]
