# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The audit as a table for spreadsheets: one row for each finding, and one for whatever is in order or unknown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from .controls import REACHABLE
from .reporttext import Values, natural, plain

COLUMNS = ("host", "database", "control_id", "control", "state", "evidence", "remedy", "generated")
# What makes a spreadsheet compute a cell instead of showing it, in the widths that keyboards have.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def table(report: Values) -> str:
    """CSV (RFC 4180) with a header, by host, database and control, so that two audits can be compared line by line."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    rows = sorted(_rows(report), key=lambda row: (natural(row[0]), natural(row[1]), *row[2:]))
    writer.writerows([_cell(value) for value in (*row, report["generated"])] for row in rows)
    return text.getvalue()


def _rows(report: Values) -> Iterator[tuple[str, ...]]:
    names = {control["id"]: control["name"] for control in report["controls"]}
    found = set()
    for each in report["findings"]:
        database = each["database"] or ""
        found.add((each["host"], database, each["id"]))
        yield each["host"], database, each["id"], each["control"], each["severity"], each["evidence"], each["remedy"]
    for database in report["databases"]:
        for key, state in database["controls"].items():
            if (database["host"], database["database"], key) not in found:
                yield database["host"], database["database"], key, names.get(key, ""), state, "", ""
    for host in {each["host"]: each for each in report["hosts"]}.values():
        if (host["host"], "", REACHABLE.id) not in found:
            state = "ok" if host["state"] == "answered" else "unknown"
            yield host["host"], "", REACHABLE.id, names.get(REACHABLE.id, ""), state, host["problem"], ""


def _cell(value: str) -> str:
    """A text that stays one; control characters, tabs and line ends are escapes in it already."""
    text = plain(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
