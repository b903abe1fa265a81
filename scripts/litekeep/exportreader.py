# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading exported files. Nothing in them is trusted before their hashes are proven."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from . import cells
from .cells import CellError, Value
from .errors import UsageError, VerificationError
from .exportfile import COMMENT, FORMATS, MARK, SEAL, VERSION, Header, seal
from .files import CHUNK
from .store import require_zstandard

if TYPE_CHECKING:
    import zstandard
    from zstandard import ZstdError
else:
    try:
        import zstandard
        from zstandard import ZstdError
    except ImportError:
        # Whoever needs it is told by require_zstandard.
        zstandard, ZstdError = None, ValueError

_LONGEST_HEADER = 16 << 20
_ZSTD = b"\x28\xb5\x2f\xfd"


class Reader:
    """An exported file, opened."""

    def __init__(self, path: str) -> None:
        """Raises UsageError when it cannot be read or is no such file."""
        self.path = path
        with self._opened() as stream:
            self.header = _header(path, stream)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """The uncompressed bytes."""
        try:
            with contextlib.ExitStack() as stack:
                file = stack.enter_context(open(self.path, "rb"))
                stream: Any = file
                if file.peek(4)[:4] == _ZSTD:
                    require_zstandard()
                    reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)
                    stream = stack.enter_context(io.BufferedReader(reader, CHUNK))
                yield stream
        except OSError as problem:
            raise _unreadable(self.path, str(problem.strerror or problem)) from problem
        except ZstdError as problem:
            raise _altered(self.path, "a whole zstd file", str(problem)) from problem

    def check(self) -> None:
        """Read it all. Raises VerificationError when its bytes are not those that were exported."""
        with self._opened() as stream:
            body = self._body(stream)
            while body.read(CHUNK):
                pass
            self._require_whole(body)

    def rows(self) -> Iterator[list[Value]]:
        """Every row. Raises VerificationError at one that is none, and at the end when they are not what was exported.

        The hash is looked at again: the file may be another one than at the check.
        """
        number = 0
        with self._opened() as stream:
            body = self._body(stream)
            text = io.BufferedReader(body, CHUNK)
            try:
                for row in self._csv_rows(text) if self.header.format == "csv" else self._json_rows(text):
                    number += 1
                    yield row
            except (CellError, UnicodeDecodeError, csv.Error) as problem:
                raise _altered(
                    self.path, f"a row of {self.header.table} as number {number + 1}", str(problem)
                ) from problem
            self._require_whole(body)
        if number != self.header.rows:
            raise _altered(self.path, f"{self.header.rows} rows", f"{number} rows")

    def _body(self, stream: BinaryIO) -> _Hashed:
        stream.readline(_LONGEST_HEADER)
        return _Hashed(stream)

    def _require_whole(self, body: _Hashed) -> None:
        found = body.sha256.hexdigest()
        if found != self.header.sha256:
            raise _altered(self.path, f"sha256 {self.header.sha256}", f"sha256 {found}")

    def _json_rows(self, stream: BinaryIO) -> Iterator[list[Value]]:
        read = cells.json_reader(self.header.fields)
        if self.header.format == "jsonl":
            for line in stream:
                yield read(line.decode())
            return
        for line in stream:
            if line == b"]\n":
                break
            if not line.startswith(b","):
                raise CellError("it does not begin with a comma")
            yield read(line[1:].decode())
        else:
            raise CellError("the array does not end")
        if stream.read(1):
            raise CellError("something stands after the end of the array")

    def _csv_rows(self, stream: BinaryIO) -> Iterator[list[Value]]:
        csv.field_size_limit(sys.maxsize)
        rows = csv.reader(io.TextIOWrapper(stream, encoding="utf-8", newline=""), strict=True)
        names = next(rows, [])
        if tuple(names) != self.header.fields:
            raise CellError(f"the names of the columns are {', '.join(names)[:100]}")
        for fields in rows:
            yield cells.from_csv(fields, len(self.header.fields))


class _Hashed(io.RawIOBase):
    """A stream whose bytes are hashed as they are read."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._stream.readinto(buffer)
        self.sha256.update(memoryview(buffer)[:count])
        return count


def _header(path: str, stream: BinaryIO) -> Header:
    line = stream.readline(_LONGEST_HEADER).strip()
    for before in (COMMENT, "["):
        if line.startswith(before.encode()):
            line = line[1:]
    try:
        values = json.loads(line)
        version = values[MARK]
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise UsageError(
            f"{path} is no file that litekeep exported",
            expected="a header record in its first line",
            found=f"a line that begins with {line[:40]!r}" if line else "an empty file",
            safe="nothing was changed",
            next_step="import a file of: litekeep export (without --plain); for others: sqlite3 DATABASE .import",
        ) from problem
    if version != VERSION:
        raise UsageError(
            f"{path} has another form",
            expected=f"{MARK} {VERSION}",
            found=f"{MARK} {version!r}",
            safe="nothing was changed",
            next_step="use the Litekeep that exported it, or a newer one",
        )
    try:
        return _header_from(values)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as problem:
        raise _altered(path, "a complete header record", str(problem) or repr(problem)) from problem


def _header_from(values: dict[str, Any]) -> Header:
    if values.pop(SEAL, None) != seal(values):
        raise ValueError("its own hash is another one")
    columns, key = values["columns"], values["key"]
    texts = [values["table"], values["sha256"], values["encoding"], *key, *(c["name"] for c in columns)]
    if not all(isinstance(text, str) and "\0" not in text for text in (*texts, *(c["type"] for c in columns))):
        raise ValueError("names that are no texts")
    if values["format"] not in FORMATS or not isinstance(values["rows"], int) or not columns:
        raise ValueError("format, rows or columns are missing")
    known = (
        "columns",
        "key",
        "table",
        "sha256",
        "rows",
        "format",
        "rowid",
        "without_rowid",
        "strict",
        "encoding",
        MARK,
    )
    return Header(
        format=values["format"],
        table=values["table"],
        fields=tuple(column["name"] for column in columns),
        types=tuple(column["type"] for column in columns),
        generated=tuple(column["name"] for column in columns if column.get("generated")),
        key=tuple(key),
        by_rowid=bool(values["rowid"]),
        without_rowid=bool(values["without_rowid"]),
        strict=bool(values["strict"]),
        encoding=values["encoding"],
        values={name: value for name, value in values.items() if name not in known},
        rows=values["rows"],
        sha256=values["sha256"],
    )


def _unreadable(path: str, found: str) -> UsageError:
    return UsageError(f"{path} cannot be read", found=found, safe="nothing was changed", next_step="correct the path")


def _altered(path: str, expected: str, found: str) -> VerificationError:
    return VerificationError(
        f"{path} is not what was exported",
        expected=expected,
        found=found,
        safe="nothing was imported; the database is as it was",
        next_step="copy the file again from where it was exported, or export again",
    )
