# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Values of SQLite in JSON and in CSV, and back, without losing a bit ("Datatypes In SQLite", section 2).

In JSON an INTEGER is a number without, a REAL one with a fraction or an exponent, NULL is null, TEXT a string; what
JSON has no form for is an object: ``{"blob": BASE64}``, ``{"text": BASE64}`` (bytes that are no Unicode, as they are
stored), ``{"real": "Infinity"}``. In CSV a field that looks like a number is one, another one is TEXT, and the rest
begins with a backslash: ``\\N`` NULL, ``\\s`` TEXT that would be taken for something else, and in hexadecimal
``\\x`` BLOB, ``\\u`` TEXT with a NUL (as UTF-8) and ``\\z`` ill-formed TEXT.
"""

from __future__ import annotations

import base64
import json
import math
import re
import sqlite3
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring
from typing import Any, Union

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_REAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|-?Infinity")
_NUMERIC = "-0123456789I"
_LIMIT = 1 << 63


class IllFormed(bytes):
    """TEXT whose bytes are no Unicode in the database's encoding: those bytes."""


Value = Union[int, float, str, bytes, IllFormed, None]
Row = Sequence[Value]


class CellError(ValueError):
    """A field that stands for no value of SQLite, in words."""


def text_or_bytes(raw: bytes) -> str | IllFormed:
    """For ``Connection.text_factory``: every TEXT comes through, and can be told from a BLOB."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return IllFormed(raw)


def read_exactly(connection: sqlite3.Connection, columns: Sequence[str]) -> tuple[str, Callable[[Row], Row]]:
    """What to SELECT so that nothing is lost, and what makes the values out of a row of it.

    columns: names or expressions as SQL takes them. A database in UTF-16 would hand out its ill-formed texts mended:
    there, all texts come as the bytes that are stored.
    """
    connection.text_factory = text_or_bytes
    encoding = str(connection.execute("PRAGMA encoding").fetchone()[0])
    if encoding == "UTF-8":
        return ", ".join(columns), lambda row: row
    codec = encoding.lower()
    parts = [f"CASE typeof({c}) WHEN 'text' THEN CAST({c} AS BLOB) ELSE {c} END, typeof({c}) = 'text'" for c in columns]
    return ", ".join(parts), lambda row: [
        _decoded(value, codec) if is_text and isinstance(value, bytes) else value
        for value, is_text in zip(row[::2], row[1::2])
    ]


def _decoded(raw: bytes, codec: str) -> Value:
    try:
        return raw.decode(codec)
    except UnicodeDecodeError:
        return IllFormed(raw)


def _no_constant(name: str) -> float:
    raise CellError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode


def json_writer(names: Sequence[str]) -> Callable[[Row], str]:
    """What makes a row of these fields into one line of JSON."""
    line = "{" + ",".join(encode_basestring(name).replace("%", "%%") + ":%s" for name in names) + "}"
    return lambda row: line % tuple([_TO_JSON[type(value)](value) for value in row])


def json_reader(names: Sequence[str]) -> Callable[[str], list[Value]]:
    """What makes a line into a row of these fields. It raises CellError."""

    def read(line: str) -> list[Value]:
        try:
            fields = _decode(line)
        except RecursionError as problem:
            raise CellError("it is nested too deeply") from problem
        except CellError:
            raise
        except ValueError as problem:
            raise CellError(f"it is not JSON: {problem}") from problem
        if not isinstance(fields, dict) or len(fields) != len(names):
            raise CellError(f"it is no object with the keys {', '.join(names)}")
        try:
            return [_FROM_JSON.get(type(value), _no_value)(value) for value in map(fields.__getitem__, names)]
        except KeyError as problem:
            raise CellError(f"{problem.args[0]} is missing") from problem

    return read


def _no_value(value: object) -> Value:
    raise CellError(f"{str(value)[:40]!r} is no value of SQLite")


def _object(kind: str, content: str) -> str:
    return f'{{"{kind}":"{content}"}}'


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _from_object(value: dict[str, object]) -> Value:
    (kind, content) = next(iter(value.items())) if len(value) == 1 else ("", None)
    if kind == "real" and content in ("Infinity", "-Infinity"):
        return float(str(content))
    if kind in ("blob", "text") and isinstance(content, str):
        try:
            raw = base64.b64decode(content, validate=True)
        except ValueError as problem:
            raise CellError(f"its {kind} is not base64") from problem
        return IllFormed(raw) if kind == "text" else raw
    return _no_value(value)


def _integer(value: int) -> int:
    if -_LIMIT <= value < _LIMIT:
        return value
    raise CellError("an integer has more than 64 bits")


def _finite(value: float) -> float:
    if math.isinf(value):
        raise CellError("a number is too large")
    return value


def _text(value: str) -> str:
    try:
        return value if value.isascii() else value.encode().decode()
    except UnicodeEncodeError as problem:
        raise CellError("a text is no Unicode") from problem


def _real(value: float) -> str:
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


_TO_JSON: dict[type, Callable[[Any], str]] = {
    int: repr,
    float: lambda value: _object("real", _real(value)) if math.isinf(value) else repr(value),
    str: encode_basestring,
    bytes: lambda value: _object("blob", _base64(value)),
    IllFormed: lambda value: _object("text", _base64(value)),
    type(None): lambda _value: "null",
}
_FROM_JSON: dict[type, Callable[[Any], Value]] = {
    int: _integer,
    float: _finite,
    str: _text,
    dict: _from_object,
    type(None): lambda _value: None,
}


def to_csv(row: Row) -> list[str]:
    """The fields of a row."""
    return [_TO_CSV[type(value)](value) for value in row]


def _text_field(value: str) -> str:
    if "\0" in value:
        return f"\\u{value.encode().hex()}"
    return f"\\s{value}" if value[:1] in ("", "\\") or _looks_like_a_number(value) else value


def _looks_like_a_number(text: str) -> bool:
    return text[0] in _NUMERIC and bool(_REAL.fullmatch(text))


_TO_CSV: dict[type, Callable[[Any], str]] = {
    int: repr,
    float: _real,
    str: _text_field,
    bytes: lambda value: f"\\x{value.hex()}",
    IllFormed: lambda value: f"\\z{value.hex()}",
    type(None): lambda _value: "\\N",
}


def from_csv(fields: Sequence[str], width: int) -> list[Value]:
    """The row of the fields. Raises CellError."""
    if len(fields) != width:
        raise CellError(f"it has {len(fields)} fields instead of {width}")
    return [_value(field) for field in fields]


def _value(field: str) -> Value:
    if not field.startswith("\\"):
        if not field or not _looks_like_a_number(field):
            return field
        return _integer(int(field)) if _INTEGER.fullmatch(field) and field != "-0" else float(field)
    kind, content = field[:2], field[2:]
    if field == "\\N":
        return None
    if kind == "\\s":
        return content
    try:
        if kind == "\\u":
            return bytes.fromhex(content).decode()
        if kind in ("\\x", "\\z"):
            return IllFormed.fromhex(content) if kind == "\\z" else bytes.fromhex(content)
    except ValueError as problem:
        raise CellError(f"{field[:20]!r} is not hexadecimal") from problem
    raise CellError(f"{field[:20]!r} begins with a backslash and is none of \\N, \\s, \\u, \\x, \\z")
