# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a table consists of: columns, key, references; and its names as SQL takes them.

"SQLite Pragmas": table_xinfo, index_info, index_list, foreign_key_list.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import sqlitefail

ROWID_NAMES = ("rowid", "_rowid_", "oid")
# Tables in which the modules that come with SQLite keep what is theirs, where SQLite itself does not say so.
_SHADOWS = ["config", "content", "data", "docsize", "idx", "node", "parent", "rowid", "segdir", "segments", "stat"]
# Virtual tables that show what others hold.
_DERIVED = ("fts5vocab", "fts4aux", "fts3tokenize", "dbstat")
_NAME = r"""(?:"(?:[^"]|"")*"|'(?:[^']|'')*'|`(?:[^`]|``)*`|\[[^\]]*\]|[^\s"'`\[(),]+)"""
_SPACE = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_MODULE = re.compile(rf"CREATE\s+VIRTUAL\s+TABLE\s+{_NAME}{_SPACE}USING{_SPACE}({_NAME})", re.IGNORECASE | re.DOTALL)
_CONTENT = re.compile(rf"[(,]\s*content\s*=\s*({_NAME}|)", re.IGNORECASE)
_SMALL = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


@dataclass(frozen=True)
class Column:
    """A column. declared: its type as it was written. primary: its place in the primary key from 1, 0 for none."""

    name: str
    declared: str
    generated: bool
    primary: int


@dataclass(frozen=True)
class Table:
    """A table. kind: ``table``, ``virtual`` or ``shadow`` (what a virtual table keeps its content in).

    key: the columns that tell its rows apart, or the name of its rowid. by_rowid: the key is a rowid that is no column;
    VACUUM may renumber it. references: the tables that its foreign keys point to. module: of a virtual table.
    index_of: of a virtual table without content of its own: the table that has it, empty where none is stored.
    unreadable: why SQLite cannot open a virtual table here; then its columns are not known.
    """

    name: str
    kind: str
    sql: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    by_rowid: bool
    without_rowid: bool
    strict: bool
    references: tuple[str, ...]
    module: str = ""
    index_of: str | None = None
    unreadable: str = ""

    @property
    def stored(self) -> tuple[str, ...]:
        """What an INSERT names: every column that is not generated, and before them a rowid that is the key."""
        return (*(self.key if self.by_rowid else ()), *(c.name for c in self.columns if not c.generated))

    @property
    def all(self) -> tuple[str, ...]:
        """The same with the generated columns."""
        return (*(self.key if self.by_rowid else ()), *(column.name for column in self.columns))


def folded(name: str) -> str:
    """A name as SQLite compares it: only ASCII letters are the same in both cases."""
    return name.translate(_SMALL)


def quoted(name: str) -> str:
    """An identifier as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str], prefix: str = "") -> str:
    """Identifiers one after the other, each with the prefix before it."""
    return ", ".join(prefix + quoted(name) for name in names)


def tables_of(connection: sqlite3.Connection, schema: str = "main") -> dict[str, Table]:
    """All tables of a schema but SQLite's own, by name, in the order in which they were made."""
    entries = connection.execute(
        f"SELECT name, sql FROM {schema}.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " ORDER BY rowid"
    ).fetchall()
    virtual = [name for name, sql in entries if _MODULE.match(sql)]
    known = _table_list(connection, schema)
    found = {}
    for name, sql in entries:
        kind, strict = known.get(name) or (_kind_by_name(name, virtual), False)
        found[name] = _table(connection, schema, name, kind, sql, strict)
    return found


def in_order_of_references(tables: Mapping[str, Table], names: Iterable[str]) -> list[str]:
    """Parents before their children; where they point to each other, the order of the tables."""
    wanted, ordered = list(names), []
    by_folded = {folded(name): name for name in tables}

    def visit(name: str, above: Sequence[str]) -> None:
        if name in ordered or name in above:
            return
        for parent in tables[name].references:
            if folded(parent) in by_folded:
                visit(by_folded[folded(parent)], [*above, name])
        ordered.append(name)

    for name in wanted:
        visit(name, [])
    return [name for name in ordered if name in wanted]


def _table_list(connection: sqlite3.Connection, schema: str) -> dict[str, tuple[str, bool]]:
    """What SQLite says that they are, and whether STRICT (from 3.37 on; before that it knows no such pragma)."""
    rows = connection.execute(f"PRAGMA {schema}.table_list").fetchall()
    return {row[1]: (row[2], bool(row[5])) for row in rows if row[0] == schema}


def _kind_by_name(name: str, virtual: Sequence[str]) -> str:
    if name in virtual:
        return "virtual"
    shadow = any(name == f"{owner}_{suffix}" for owner in virtual for suffix in _SHADOWS)
    return "shadow" if shadow else "table"


def _table(connection: sqlite3.Connection, schema: str, name: str, kind: str, sql: str, strict: bool) -> Table:
    rows, unreadable = _columns(connection, schema, name, kind)
    # hidden: 1 belongs to a virtual table's module, 2 and 3 are generated ("Generated Columns", section 2).
    columns = tuple(Column(row[1], _type(row[2]), row[6] in (2, 3), row[5]) for row in rows if row[6] != 1)
    # On a table WITHOUT ROWID this pragma names the primary key; on another one it knows no such index.
    without_rowid = kind == "table" and bool(
        connection.execute(f"PRAGMA {schema}.index_info({quoted(name)})").fetchone()
    )
    primary = tuple(column.name for column in sorted(columns, key=lambda c: c.primary) if column.primary)
    hidden = not primary or kind == "virtual"
    names = {folded(column.name) for column in columns}
    rowid = next((alias for alias in ROWID_NAMES if alias not in names), "")
    references = {row[2]: None for row in connection.execute(f"PRAGMA {schema}.foreign_key_list({quoted(name)})")}
    module = _module_of(sql)
    return Table(
        name=name,
        kind=kind,
        sql=sql,
        columns=columns,
        key=((rowid,) if rowid else ()) if hidden else primary,
        by_rowid=hidden and bool(rowid),
        without_rowid=without_rowid,
        strict=strict,
        references=tuple(references),
        module=module,
        index_of="" if unreadable else _content_of(module, sql),
        unreadable=unreadable,
    )


def _columns(
    connection: sqlite3.Connection, schema: str, name: str, kind: str
) -> tuple[list[tuple[int, str, str, int, object, int, int]], str]:
    try:
        return connection.execute(f"PRAGMA {schema}.table_xinfo({quoted(name)})").fetchall(), ""
    except sqlite3.OperationalError as problem:
        # A module or a tokenizer that only the application has. Damage and locks are other matters.
        if kind != "virtual" or sqlitefail.is_damage(problem) or sqlitefail.is_busy(problem):
            raise
        return [], str(problem)


def _type(declared: str) -> str:
    """SQLite 3.34 takes these two words of a column for a part of its type."""
    return re.sub(r"\s*GENERATED\s+ALWAYS$", "", declared, flags=re.IGNORECASE)


def _module_of(sql: str) -> str:
    found = _MODULE.match(sql)
    return _unquoted(found[1]).lower() if found else ""


def _content_of(module: str, sql: str) -> str | None:
    if module in _DERIVED:
        return ""
    found = _CONTENT.search(sql) if module in ("fts4", "fts5") else None
    return _unquoted(found[1]) if found else None


def _unquoted(name: str) -> str:
    if name[:1] == "[":
        return name[1:-1]
    quote = name[:1]
    return name[1:-1].replace(quote * 2, quote) if quote and quote in "'\"`" else name
