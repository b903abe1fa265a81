# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Figures as plain text, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .stats import Spread, ratios, spread

WIDTH = 100
_LABEL, _COLUMN = 23, 27

Unit = Callable[[float], str]


def seconds(value: float) -> str:
    """A duration given in seconds."""
    return f"{value:.{2 if value < 1000 else 0}f} s"


def milliseconds(value: float) -> str:
    """A short duration given in seconds."""
    return f"{value * 1000:.1f} ms"


def megabytes(value: float) -> str:
    """A size given in bytes; decimal megabytes."""
    return f"{value / 1e6:.{1 if value < 1e9 else 0}f} MB"


def plain(value: float) -> str:
    """A number without a unit."""
    return f"{value:.2f}"


@dataclass(frozen=True)
class Row:
    """One figure of every run, in the order of the pairs. unit: how it is written."""

    label: str
    unit: Unit
    theirs: Sequence[float]
    ours: Sequence[float]


def compared(rows: Sequence[Row], theirs: str, ours: str) -> list[str]:
    """The lines of a comparison: median (smallest to largest) of both sides, and of the ratios of the pairs."""
    lines = [_line("", theirs, ours, f"{ours} / {theirs}")]
    for row in rows:
        pairs = spread(ratios(row.ours, row.theirs)) if all(row.theirs) else None
        lines.append(
            _line(
                row.label,
                ranged(spread(row.theirs), row.unit),
                ranged(spread(row.ours), row.unit),
                ranged(pairs, plain) if pairs else "-",
            )
        )
    return lines


def ranged(values: Spread, unit: Unit) -> str:
    """For example ``21.70 s (21.51 to 22.00)``."""
    low, high = (unit(value).split()[0] for value in (values.low, values.high))
    return f"{unit(values.median)} ({low} to {high})"


def columns(heading: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    """A table of ready words: up to three columns after the label."""
    return [_line("", *heading), *(_line(label, *cells) for label, cells in rows.items())]


def titled(title: str) -> list[str]:
    """A heading with air above it."""
    return ["", title, "-" * min(WIDTH, len(title))]


def wrapped(text: str) -> list[str]:
    """A paragraph, or an item whose later lines are indented."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def named(values: Mapping[str, str]) -> list[str]:
    """One line a value, its name before it."""
    return [
        line
        for name, value in values.items()
        for line in textwrap.wrap(f"{name:<{_LABEL}}{value}", WIDTH, subsequent_indent=" " * _LABEL)
    ]


def _line(label: str, *cells: str) -> str:
    return (f"{label:<{_LABEL}}" + "".join(f"{cell:<{_COLUMN}}" for cell in cells)).rstrip()
