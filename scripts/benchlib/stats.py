# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Few runs, honestly summed up: medians with their range, ratios pair by pair, percentiles by nearest rank."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some values, in their unit."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Sum up at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours / theirs, pair by pair, for two runs of the same length."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} values are no pairs")
    return [mine / other for mine, other in zip(ours, theirs)]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that ``percent`` (over 0, up to 100) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
