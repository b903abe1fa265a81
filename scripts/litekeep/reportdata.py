# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the script of the audit's page works on, made small: a page may carry a hundred thousand backups.

Times are milliseconds before or after another time, mostly to base 36; ``reporttimeline`` takes them apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from .controls import SEVERITIES, STATES
from .reporttext import Values, milliseconds, plain
from .timefmt import from_text, to_id

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
# Of a control that says nothing about a database.
_NOT_ASKED = "-"


def embedded(report: Values, databases: Sequence[Values], findings: Sequence[Values]) -> str:
    """JSON that may stand within a script element whatever the names are. Both lists in the order of the page."""
    now = milliseconds(report["generated"])
    others = {each["state"] for database in databases for each in database["backups"]} - {"verified"}
    kinds = ["verified", *sorted(others)]
    places = {(each["host"], each["database"]): place for place, each in enumerate(databases)}
    ages = sorted(now - first for first in map(_first, databases) if first is not None) or [0]
    value = {
        "now": now,
        "states": STATES,
        "kinds": [plain(kind) for kind in kinds],
        "controls": [[plain(each["id"]), plain(each["name"])] for each in report["controls"]],
        "oldest": ages[-1],
        "usual": ages[(len(ages) - 1) * 9 // 10],
        "databases": [_database(each, report["controls"], kinds, now) for each in databases],
        "findings": [_finding(each, places) for each in findings],
    }
    text = json.dumps(value, separators=(",", ":"))
    # Neither "</script>" nor "<!--" can come up.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _first(database: Values) -> int | None:
    starts = [each["from"] for each in (*database["windows"], *database["gaps"])]
    starts += [each["time"] for each in (*database["backups"], *database["drills"])]
    return milliseconds(min(starts)) if starts else None


def _finding(finding: Values, places: dict[tuple[str, str], int]) -> list[object]:
    place = places.get((finding["host"], finding["database"]), -1)
    found = [place, SEVERITIES.index(finding["severity"]), plain(finding["id"])]
    # Where there is no row of a database, the words to look for.
    return found if place >= 0 else [*found, plain(f"{finding['host']} {finding['database'] or ''}")]


def _database(database: Values, controls: Sequence[Values], kinds: Sequence[str], now: int) -> dict[str, Any]:
    backups = sorted(database["backups"], key=lambda each: each["time"])
    times = [milliseconds(each["time"]) for each in backups]
    names = {
        place: plain(each["id"])
        for place, each in enumerate(backups)
        if each["id"] != f"{to_id(from_text(each['time']))}-full"
    }
    asked = database["controls"]
    objectives = database["objectives"]
    return {
        "host": plain(database["host"]),
        "name": plain(database["database"]),
        "path": plain(database["path"] or ""),
        "worst": STATES.index(database["worst"]),
        "controls": "".join(
            str(STATES.index(asked[each["id"]])) if each["id"] in asked else _NOT_ASKED for each in controls
        ),
        "seen": [plain(name) for name in database["seen_by"]],
        "goals": [objectives["rpo"], objectives["rto"], objectives["drill_every"]],
        "newest": milliseconds(database["newest"]) if database["newest"] else None,
        "until": milliseconds(database["proven_until"]) if database["proven_until"] else None,
        "size": database["size"],
        "stored": database["stored_size"],
        "times": _steps(times, now),
        "kind": "".join(_DIGITS[kinds.index(each["state"])] for each in backups),
        "sizes": " ".join(base36(-1 if each["stored_size"] is None else each["stored_size"]) for each in backups),
        **({"names": names} if names else {}),
        "windows": _steps([moment for span in _spans(database["windows"]) for moment in span], now),
        "gaps": [
            [milliseconds(gap["from"]) - now, milliseconds(gap["to"]) - milliseconds(gap["from"]), plain(gap["reason"])]
            for gap in sorted(database["gaps"], key=lambda each: each["from"])
        ],
        "drills": [_drill(each, now) for each in sorted(database["drills"], key=lambda each: each["time"])],
    }


def _spans(windows: Iterable[Values]) -> list[tuple[int, int]]:
    """Windows that meet are one."""
    found: list[tuple[int, int]] = []
    for window in sorted(windows, key=lambda each: each["from"]):
        start, end = milliseconds(window["from"]), milliseconds(window["to"])
        if found and start <= found[-1][1]:
            start, last = found.pop()
            end = max(end, last)
        found.append((start, end))
    return found


def _drill(drill: Values, now: int) -> list[object]:
    result = int(drill["result"] == "passed")
    in_time = None if drill["in_time"] is None else int(drill["in_time"])
    return [milliseconds(drill["time"]) - now, result, drill["seconds"], in_time, plain(drill["point"])]


def _steps(moments: Iterable[int], start: int) -> str:
    """Each as its distance from the one before, the first from ``start``."""
    steps = []
    for moment in moments:
        steps.append(base36(moment - start))
        start = moment
    return " ".join(steps)


def base36(number: int) -> str:
    """As JavaScript's ``parseInt(text, 36)`` reads it."""
    rest, digits = abs(number), ""
    while rest or not digits:
        rest, digit = divmod(rest, 36)
        digits = _DIGITS[digit] + digits
    return f"-{digits}" if number < 0 else digits
