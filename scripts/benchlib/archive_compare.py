# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether two databases hold the same, whatever an archiver has added to one of them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from . import compare

Schema = set[tuple[str, str, str]]


def unequal(copy: Path, live: Path) -> str | None:
    """None when the schema and every row of a copy equal those of the live database; else the first difference."""
    mine, theirs = schema(copy), schema(live)
    if mine != theirs:
        return f"the schema differs in: {', '.join(sorted({name for _type, name, _sql in mine ^ theirs}))}"
    # Both ways: one comparison looks only as far as its first database goes.
    return compare.difference(copy, live) or compare.difference(live, copy)


def schema(path: Path) -> Schema:
    """Type, name and SQL of everything that was created in a database."""
    with contextlib.closing(compare.read_only(path)) as connection:
        return set(connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master"))


def added(live: Path, before: Path) -> list[str]:
    """Names that stand in the live database's schema and did not before; changed ones included."""
    return sorted({name for _type, name, _sql in schema(live) ^ schema(before)})


def events(path: Path) -> int:
    """How many events there are."""
    with contextlib.closing(compare.read_only(path)) as connection:
        return compare.number(connection, "SELECT count(*) FROM events")
