# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ``integrity_check`` has to say about a damaged file, summed up for people, and the pages that nothing owns."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .source import connect

_ALL = 2**31 - 1
_LINES = 20
# Enough of the kind that comes once a row.
_ROWS = 10_000
_NEVER_USED = re.compile(r"(?:\*\*\* .* \*\*\*\s*)?Page (\d+)(?: is|:) never used")
_ROW = re.compile(r"row \d+ (.*index .*)|rowid not at end-of-record for row \d+ (of index .*)")
_TREE = re.compile(r"Tree (\d+) ")


@dataclass(frozen=True)
class Findings:
    """lines: what was said, without repetitions. unowned: pages of no table, no index and no free list."""

    lines: tuple[str, ...]
    unowned: frozenset[int]

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.lines and not self.unowned

    def words(self) -> tuple[str, ...]:
        """For people: the pages that nothing owns are counted."""
        words = list(self.lines[:_LINES])
        if len(self.lines) > _LINES:
            words.append(f"and {len(self.lines) - _LINES:,} further messages of integrity_check")
        if self.unowned:
            count = len(self.unowned)
            words.append(f"{'and ' if words else ''}{count:,} page{'s' * (count > 1)} that no table or index owns")
        return tuple(words)


def look(path: str) -> Findings:
    """Ask SQLite about a file to which nobody writes. Damage may raise instead of being told: that is told, too."""
    rows: list[str] = []
    roots: dict[int, str] = {}
    try:
        with contextlib.closing(connect(path, immutable=True)) as connection:
            connection.text_factory = lambda raw: raw.decode(errors="replace")
            with contextlib.suppress(sqlite3.Error):
                roots = dict(connection.execute("SELECT rootpage, type || ' ' || name FROM sqlite_master"))
            for row in _answers(connection):
                rows += row.splitlines()
                if len(rows) > _ROWS and _ROW.fullmatch(rows[-1]):
                    break
    except sqlite3.Error as problem:
        rows.append(str(problem))
    return sum_up(rows, roots)


def _answers(connection: sqlite3.Connection) -> Iterator[str]:
    """All rows, also the last one before an error, which Python swallows: it is one step ahead."""
    ask, count = f"SELECT integrity_check FROM pragma_integrity_check({_ALL})", 0
    try:
        for (row,) in connection.execute(ask):
            count += 1
            yield str(row)
    except sqlite3.Error:
        with contextlib.suppress(sqlite3.Error):
            for (row,) in connection.execute(f"{ask} LIMIT 1 OFFSET {count}").fetchall():
                yield str(row)
        raise


def sum_up(rows: Iterable[str], roots: dict[int, str] | None = None) -> Findings:
    """The same message about many rows becomes one."""
    lines: dict[str, int] = {}
    unowned: set[int] = set()
    for row in rows:
        page = _NEVER_USED.fullmatch(row)
        if page:
            unowned.add(int(page[1]))
        elif row != "ok" and not (row.startswith("***") and row.endswith("***")):
            of_row = _ROW.fullmatch(row)
            text = f"rows {of_row[1] or of_row[2]}" if of_row else _TREE.sub(lambda m: _named(m, roots or {}), row)
            lines[text] = lines.get(text, 0) + 1
    counted = (f"{count:,} {text}" if text.startswith("rows ") else text for text, count in lines.items())
    return Findings(tuple(counted), frozenset(unowned))


def _named(found: re.Match[str], roots: dict[int, str]) -> str:
    """Newer SQLite says to which b-tree a page belongs; the name says more than its root."""
    name = roots.get(int(found[1]))
    return f"{name}: " if name else found[0]
