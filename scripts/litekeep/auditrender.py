# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An audit's report, for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .controls import SEVERITIES

Values = dict[str, Any]


def audited(report: Values) -> Iterator[str]:
    """The findings, and the verdict."""
    yield from findings(report)
    yield verdict(report)


def findings(report: Values, least: str = SEVERITIES[-1], limit: int | None = None) -> Iterator[str]:
    """The worst first. least: the severity from which on they are told. limit: how many are."""
    severities = SEVERITIES[: SEVERITIES.index(least) + 1]
    told = [finding for finding in report["findings"] if finding["severity"] in severities]
    for finding in told[:limit]:
        where = "/".join(part for part in (finding["host"], finding["database"]) if part)
        yield f"{finding['severity']:8}  {where}  {finding['id']} {finding['control']}: {finding['evidence']}"
        if finding["remedy"]:
            yield f"          run: {finding['remedy']}"
    more = len(told[limit:]) if limit is not None else 0
    if more:
        yield f"and {more} more: see the report"


def verdict(report: Values) -> str:
    """In one line."""
    summary = report["summary"]
    counts = ", ".join(f"{summary[severity]} {severity}" for severity in SEVERITIES)
    words = "compliant" if report["compliant"] else "not compliant"
    asked = f"{summary['hosts']} asked, {summary['databases']} databases, {summary['green']} of them green"
    return f"{words}: {asked}; findings: {counts}"
