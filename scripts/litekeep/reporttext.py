# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the forms of the audit's report share: the order of things, words, and texts that cannot deceive the reader.

The report itself is a plain value; its published form is ``docs/schemas/audit-1.schema.json``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

from .controls import STATES
from .timefmt import duration_text, from_text

# One report, or one part of it: what came out of JSON, or goes there.
Values = Mapping[str, Any]

WORDS = {"critical": "Critical", "warning": "Warning", "notice": "Notice", "unknown": "Unknown", "ok": "OK"}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_MILLISECOND = dt.timedelta(milliseconds=1)
# Control characters, what turns the direction of writing around, line separators, halves of characters.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_NUMBER = re.compile(r"(\d{1,15})")


def plain(text: object) -> str:
    """The text, with all that cannot be seen, or cannot be written as UTF-8, as an escape: ``\\x0a``, ``\\u202e``."""
    return _UNSEEN.sub(lambda found: _escape(ord(found[0])), str(text))


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def natural(text: object) -> tuple[str | int, ...]:
    """For sorting: db2 before db10."""
    return tuple(int(part) if place % 2 else part for place, part in enumerate(_NUMBER.split(str(text))))


def databases_of(report: Values) -> list[Values]:
    """The databases: the worst first, then by host and name."""
    return sorted(
        report["databases"], key=lambda each: (_rank(each["worst"]), natural(each["host"]), natural(each["database"]))
    )


def findings_of(report: Values) -> list[Values]:
    """The findings: the worst first, then by control, host and database."""
    return sorted(
        report["findings"],
        key=lambda each: (
            _rank(each["severity"]),
            each["id"],
            natural(each["host"]),
            natural(each["database"] or ""),
            each["evidence"],
        ),
    )


def last_drill(database: Values) -> Values:
    """The newest of its drills, of which there is one."""
    last: Values = max(database["drills"], key=lambda each: each["time"])
    return last


def _rank(state: str) -> int:
    return STATES.index(state) if state in STATES else 0


def milliseconds(text: str) -> int:
    """Milliseconds since 1970 of a time of the report."""
    return (from_text(text) - _EPOCH) // _MILLISECOND


def minute(text: str) -> str:
    """A time of the report, to the minute: ``2026-11-23 02:00``."""
    return from_text(text).strftime("%Y-%m-%d %H:%M")


def age(text: str, generated: str) -> str:
    """How long before the report a time was: ``12 h 40 min ago``."""
    seconds = (milliseconds(generated) - milliseconds(text)) / 1000
    return f"{duration_text(seconds)} ago" if seconds >= 0 else f"{duration_text(-seconds)} ahead"


def counted(number: int, one: str, many: str = "") -> str:
    """``1 host``, ``2,000 hosts``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
