"""Every value has one form in JSON and one in CSV, and comes back from it."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litekeep.cells import (
    CellError,
    IllFormed,
    Value,
    from_csv,
    json_reader,
    json_writer,
    read_exactly,
    text_or_bytes,
    to_csv,
)

FORMS: list[tuple[Value, str, str]] = [
    (None, "null", "\\N"),
    (0, "0", "0"),
    (-(2**63), "-9223372036854775808", "-9223372036854775808"),
    (2**63 - 1, "9223372036854775807", "9223372036854775807"),
    (1.0, "1.0", "1.0"),
    (-0.0, "-0.0", "-0.0"),
    (1e22, "1e+22", "1e+22"),
    (5e-324, "5e-324", "5e-324"),
    (math.inf, '{"real":"Infinity"}', "Infinity"),
    (-math.inf, '{"real":"-Infinity"}', "-Infinity"),
    (b"", '{"blob":""}', "\\x"),
    (b"\0\xff", '{"blob":"AP8="}', "\\x00ff"),
    (IllFormed(b"\xff"), '{"text":"/w=="}', "\\zff"),
    ("", '""', "\\s"),
    ("a", '"a"', "a"),
    ("12", '"12"', "\\s12"),
    ("-0.0", '"-0.0"', "\\s-0.0"),
    ("Infinity", '"Infinity"', "\\sInfinity"),
    ("012", '"012"', "012"),
    ("\\N", '"\\\\N"', "\\s\\N"),
    ("a\\", '"a\\\\"', "a\\"),
    ("a\0", '"a\\u0000"', "\\u6100"),
    ("ä\n", '"ä\\n"', "ä\n"),
]


def bits(value: Value) -> tuple[type, object]:
    return type(value), struct.pack(">d", value) if isinstance(value, float) else value


@pytest.mark.parametrize(("value", "as_json", "as_csv"), FORMS, ids=repr)
def test_the_form_of_a_value(value: Value, as_json: str, as_csv: str) -> None:
    assert json_writer(["a"])([value]) == f'{{"a":{as_json}}}'
    assert to_csv([value]) == [as_csv]
    assert bits(json_reader(["a"])(f'{{"a":{as_json}}}')[0]) == bits(value)
    assert bits(from_csv([as_csv], 1)[0]) == bits(value)


values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(),
    st.binary().map(IllFormed),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.from_regex(r"\A\\?[-+]?[0-9]*\.?[0-9]*([eE][+-]?[0-9]+)?\Z"),
)


@given(st.lists(values, min_size=1, max_size=5), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_row_comes_back(row: list[Value], name: str) -> None:
    names = [f"{name}{n}" for n in range(len(row))]
    line = json_writer(names)(row)
    assert "\n" not in line
    assert list(json.loads(line)) == names
    assert list(map(bits, json_reader(names)(line))) == list(map(bits, row))
    assert list(map(bits, from_csv(to_csv(row), len(row)))) == list(map(bits, row))


def test_a_row_of_another_table_is_refused() -> None:
    with pytest.raises(CellError, match="no object with the keys a, b"):
        json_reader(["a", "b"])('{"a":1}')
    with pytest.raises(CellError, match="b is missing"):
        json_reader(["a", "b"])('{"a":1,"c":1}')
    with pytest.raises(CellError, match="1 fields instead of 2"):
        from_csv(["1"], 2)


@given(st.text(), st.booleans())
def test_no_line_makes_another_error(line: str, as_csv: bool) -> None:
    try:
        found = from_csv([line], 1) if as_csv else json_reader(["a"])(f'{{"a":{line}}}')
    except CellError:
        return
    assert len(found) == 1


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_texts_are_read_as_they_are_stored(encoding: str) -> None:
    ill_formed = b"\xff\xfe\xff" if encoding == "UTF-8" else b"\xd8\xd8" if encoding == "UTF-16be" else b"\0\xd8"
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"PRAGMA encoding = '{encoding}'")
        db.execute(f"CREATE TABLE t AS SELECT CAST(x'{ill_formed.hex()}' AS TEXT) AS a, 'ä' AS b, x'00' AS c, 1.5 AS d")
        wanted, exact = read_exactly(db, ['"a"', '"b"', '"c"', '"d"'])
        row = exact(db.execute(f"SELECT {wanted} FROM t").fetchone())
    assert list(row) == [ill_formed, "ä", b"\0", 1.5]
    assert [type(value) for value in row] == [IllFormed, str, bytes, float]


def test_text_factory() -> None:
    assert text_or_bytes(b"a") == "a"
    assert type(text_or_bytes(b"\xff")) is IllFormed
