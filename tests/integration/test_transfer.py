"""Export and import again: every value comes back to the bit, from every kind of table, through every format."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from transfer import cells_of, content_of, exported, imported, made

from litekeep.errors import VerificationError
from litekeep.tables import quoted, tables_of

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
EXAMPLES = int(os.environ.get("LITEKEEP_EXAMPLES", "200"))
GATE: dict[str, Any] = {
    "deadline": None,
    "derandomize": "LITEKEEP_EXAMPLES" not in os.environ,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
ENCODINGS = ["UTF-8", "UTF-16le", "UTF-16be"]
EDGES = [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), -(2**63) + 1]
REALS = [
    0.0,
    -0.0,
    float("inf"),
    float("-inf"),
    5e-324,
    -2.2e-308,
    1.7976931348623157e308,
    0.1,
    1e16,
    1e22,
    123456789.0,
]
TEXTS = [
    "", "NULL", "\\N", "\\x00", "\\s", "\\", "1", "-0", "1e5", "0x1", "Infinity", "-Infinity", "nan", " 1", "1 ", "00",
    "+1", "12345678901234567890", "true", '"', "'", '{"blob":"AA=="}', "a,b", "a\nb", "a\r\nb", "\r", "\n", "\0",
    "a\0b", "#", "]", "\ufeffx", "\ufffe", "\uffff", "\U0001f600", "ß", "\x7f", "\x1b", "\u2028", "\u0085", "%s", "{}",
]  # fmt: skip
NAMES = [
    "a",
    "order",
    'qu"ote',
    "sp ace",
    "Straße",
    "ä",
    "rowid",
    "%s",
    "semi;colon",
    "new\nline",
    "[x]",
    "`y`",
    "'",
    "",
    "1",
]

integers = st.one_of(st.sampled_from(EDGES), st.integers(-(2**63), 2**63 - 1))
reals = st.one_of(st.sampled_from(REALS), st.floats(allow_nan=False))
texts = st.one_of(st.sampled_from(TEXTS), st.text(max_size=6), st.from_regex(r"\A-?[0-9.eE+]{1,6}\Z"))
# The bytes of a text, in whatever encoding the database has.
ill_formed = st.one_of(st.binary(max_size=6), st.sampled_from([b"\xff\xfe", b"\x00\xd8", b"\xed\xa0\x80", b"\xc0\x80"]))
values = st.one_of(st.none(), integers, reals, st.binary(max_size=6), texts, ill_formed.map(lambda raw: ("text", raw)))

# By kind: the columns after the first three names, and what stands behind the parenthesis.
KINDS = {
    "rowid": ("{0}, {1} NUMERIC, {2} TEXT", ""),
    "integer key": ("{0} INTEGER PRIMARY KEY, {1} REAL, {2}", ""),
    "text key": ("{0} TEXT PRIMARY KEY, {1} INTEGER, {2} BLOB", ""),
    "composite key": ("{0}, {1} TEXT, {2}, PRIMARY KEY ({2}, {0})", ""),
    "without rowid": ("{0}, {1}, {2} REAL, PRIMARY KEY ({0} COLLATE NOCASE, {2} DESC)", "WITHOUT ROWID"),
    "generated": ("{0}, {1}, {2} INTEGER, v AS (typeof({0})), s TEXT AS (quote({1})) STORED", ""),
    "strict": ("{0} ANY, {1} ANY, {2} TEXT", "STRICT"),
    "strict without rowid": ("{0} ANY, {1} ANY, {2} REAL, PRIMARY KEY ({0})", "STRICT, WITHOUT ROWID"),
}
STRICT = sqlite3.sqlite_version_info >= (3, 37)


def fill(path: Path, table: str, rows: list[tuple[object, ...]]) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for row in rows:
            # Only a literal becomes the bytes that it is in UTF-16, too.
            marks = ", ".join(f"CAST(x'{v[1].hex()}' AS TEXT)" if isinstance(v, tuple) else "?" for v in row)
            bound = [value for value in row if not isinstance(value, tuple)]
            with contextlib.suppress(sqlite3.IntegrityError):
                # A row that this kind of table does not take is no row of it.
                db.execute(f"INSERT INTO {quoted(table)} VALUES ({marks})", bound)


@st.composite
def schemas(draw: st.DrawFn) -> tuple[str, str]:
    """The name of a table, and its CREATE."""
    columns, options = KINDS[draw(st.sampled_from([k for k in KINDS if STRICT or "strict" not in k]))]
    names = draw(st.lists(st.sampled_from(NAMES), min_size=3, max_size=3, unique=True))
    table = draw(st.sampled_from(["t", *NAMES]))
    return table, f"CREATE TABLE {quoted(table)} ({columns.format(*map(quoted, names))}) {options}"


@given(
    schema=schemas(),
    rows=st.lists(st.tuples(values, values, values), max_size=8),
    encoding=st.sampled_from(ENCODINGS),
    form=st.sampled_from(["jsonl", "json", "csv"]),
    level=st.sampled_from([None, 1]),
    create=st.booleans(),
)
@settings(max_examples=EXAMPLES, **GATE)
def test_every_value_comes_back_to_the_bit(
    schema: tuple[str, str], rows: list[tuple[object, ...]], encoding: str, form: str, level: int | None, create: bool
) -> None:
    table, sql = schema
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        source, target, file = (Path(folder, name) for name in ("source.db", "target.db", "rows"))
        made(source, sql, encoding)
        fill(source, table, rows)
        before = content_of(source)
        assert exported(source, file, table, format=form, level=level).files[0].rows == len(before[table])
        made(target, "CREATE TABLE other(x)" if create else sql, encoding)
        (done,) = imported(target, file, create=create)
        assert (done.inserted, done.ignored, done.replaced) == (len(before[table]), 0, 0)
        assert content_of(target, [table]) == before
        # Once more changes nothing, whichever way.
        event(f"{len(before[table])} rows")
        with contextlib.closing(sqlite3.connect(target)) as db:
            without_null = not any(
                ("null", None) in [row[tables_of(db)[table].all.index(n)] for n in tables_of(db)[table].key]
                for row in cells_of(db, tables_of(db)[table])
            )
        if without_null:
            (ignored,) = imported(target, file, conflict="ignore")
            (replaced,) = imported(target, file, conflict="replace")
            assert (ignored.inserted, ignored.ignored) == (0, len(before[table]))
            assert (replaced.inserted, replaced.replaced) == (0, len(before[table]))
            assert content_of(target, [table]) == before


@given(
    rows=st.lists(st.tuples(values), min_size=1, max_size=4),
    encodings=st.permutations(ENCODINGS).map(lambda each: each[:2]),
    form=st.sampled_from(["jsonl", "csv"]),
)
@settings(max_examples=EXAMPLES // 3, **GATE)
def test_another_encoding_takes_the_same_texts_or_refuses_them_all(
    rows: list[tuple[object, ...]], encodings: list[str], form: str
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        source, target, file = (Path(folder, name) for name in ("source.db", "target.db", "rows"))
        for path, encoding in zip((source, target), encodings):
            made(path, "CREATE TABLE t(a)", encoding)
        fill(source, "t", rows)
        exported(source, file, "t", format=form)
        try:
            wanted = [_decoded(row, encodings[0]) for row in content_of(source)["t"]]
        except UnicodeDecodeError:
            with pytest.raises(VerificationError, match="does not fit"):
                imported(target, file)
            assert content_of(target)["t"] == []
            return
        imported(target, file)
        assert sorted(wanted, key=repr) == sorted(
            (_decoded(r, encodings[1]) for r in content_of(target)["t"]), key=repr
        )


def _decoded(row: tuple[tuple[str, object], ...], encoding: str) -> list[object]:
    return [value.decode(encoding.lower()) if kind == "text" else (kind, value) for kind, value in row]  # type: ignore[attr-defined]
