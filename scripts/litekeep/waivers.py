# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Findings that somebody has accepted, for a time and with a reason. They stay in the report, as notices."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .controls import CONTROLS, NOTICE
from .errors import UsageError
from .timefmt import from_text

Values = dict[str, Any]


def check_waivers(given: Sequence[Mapping[str, Any]], what: str) -> list[Values]:
    """``given`` with the keys control, database (None: all), until and reason. Raises UsageError, naming the entry."""
    known = {control.id for control in CONTROLS}
    for number, entry in enumerate(given):
        where = f"{what}[{number}]"
        if entry.get("control") not in known:
            raise UsageError(
                f"{where}.control is no control",
                expected=f"one of {min(known)} to {max(known)}",
                found=repr(entry.get("control")),
                next_step=f"correct {where}",
            )
        if not str(entry.get("reason") or "").strip():
            raise UsageError(f"{where} has no reason", next_step=f"say in {where}.reason why it is accepted")
        try:
            _end(str(entry.get("until")))
        except ValueError as problem:
            raise UsageError(
                f"{where}.until is no time",
                expected="a day such as 2026-12-31, or a time with its offset",
                found=repr(entry.get("until")),
                next_step=f"correct {where}: what is accepted for ever is forgotten",
            ) from problem
    return [{key: entry.get(key) for key in ("control", "database", "until", "reason")} for entry in given]


def waived(finding: Values, database: str | None, accepted: Iterable[Values], at: dt.datetime) -> Values:
    """The finding, as a notice when it is accepted at that time."""
    for entry in accepted:
        if entry["control"] == finding["id"] and entry["database"] in (None, database) and at < _end(entry["until"]):
            evidence = f"{finding['evidence']} (accepted until {entry['until']}: {entry['reason']})"
            return {**finding, "severity": NOTICE, "evidence": evidence}
    return finding


def _end(text: str) -> dt.datetime:
    """The end of a day in UTC, or that time. Raises ValueError."""
    if len(text) == 10:
        return from_text(f"{text}T00:00:00Z") + dt.timedelta(days=1)
    return from_text(text)
