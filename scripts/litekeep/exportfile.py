# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The form of exported files: a header record that says what follows, how much of it and its hash; then the rows.

``jsonl`` is a line of JSON a row, ``json`` one array whose first element is the header, ``csv`` RFC 4180 after one
comment line. Each may be a zstd file. The header stands first and is known last: its room is kept free.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import struct
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import cells
from .cells import Row
from .errors import UsageError
from .files import sync_directory, write_all
from .store import require_zstandard

if TYPE_CHECKING:
    import zstandard
else:
    try:
        import zstandard
    except ImportError:
        # Whoever needs it is told by require_zstandard.
        zstandard = None

FORMATS = ("jsonl", "json", "csv")
MARK = "litekeep-export"
VERSION = 1
SEAL = "header_sha256"
COMMENT = "#"
_BLOCK = 1 << 16
# A frame that every decompressor passes over (RFC 8878, section 3.1.2): magic and size.
_SKIPPED = struct.Struct("<II")
_SKIPPED_MAGIC = 0x184D2A50


@dataclass(frozen=True)
class Header:
    """What an exported file says of itself.

    columns: name and declared type of each field. key: the columns that tell rows apart; with ``by_rowid`` the rowid,
    which then is the first field. values: the rest of the record, as it stands in the file.
    """

    format: str
    table: str
    fields: tuple[str, ...]
    types: tuple[str, ...]
    generated: tuple[str, ...]
    key: tuple[str, ...]
    by_rowid: bool
    without_rowid: bool
    strict: bool
    encoding: str
    values: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    sha256: str = ""

    def record(self, rows: int, sha256: str) -> str:
        """The header's line."""
        columns = [
            {"name": name, "type": declared, **({"generated": True} if name in self.generated else {})}
            for name, declared in zip(self.fields, self.types)
        ]
        values = {
            MARK: VERSION,
            "format": self.format,
            "table": self.table,
            "columns": columns,
            "key": self.key,
            "rowid": self.by_rowid,
            "without_rowid": self.without_rowid,
            "strict": self.strict,
            "encoding": self.encoding,
            **self.values,
            "rows": rows,
            "sha256": sha256,
        }
        return json.dumps({**values, SEAL: seal(values)}, ensure_ascii=False)


def seal(values: dict[str, Any]) -> str:
    """The hash of a header record, of all that stands before this field."""
    return hashlib.sha256(json.dumps(values, ensure_ascii=False).encode()).hexdigest()


class Writer:
    """A new exported file. It has its name when it is complete; ``with`` removes what was not finished.

    plain: without the header, for programs that would stumble over it. level: of zstd, None for an uncompressed file.
    """

    def __init__(self, path: str, header: Header, plain: bool = False, level: int | None = None) -> None:
        if level is not None:
            require_zstandard()
        self.path, self.header, self.plain = path, header, plain
        self.rows = 0
        self._hash = hashlib.sha256()
        self._text = io.StringIO(newline="")
        self._csv = csv.writer(self._text, lineterminator="\r\n")
        self._line = cells.json_writer(header.fields)
        self._level = level
        self._compressor: Any = None
        self._room = 0
        self._descriptor, self._partial = _new_file(path)
        if not plain:
            self._room = len(self._opening(10**19, "f" * 64)) + 1
            if level is not None:
                self._room += self._room // 8 + 128
            os.lseek(self._descriptor, self._room, os.SEEK_SET)
        if level is not None:
            self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj()
        if header.format == "csv":
            self._csv.writerow(header.fields)
        elif header.format == "json" and plain:
            self._text.write("[\n")

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_problem: object) -> None:
        os.close(self._descriptor)
        if self._partial:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._partial)

    def write(self, row: Row) -> None:
        """The next row."""
        if self.header.format == "csv":
            self._csv.writerow(cells.to_csv(row))
        else:
            if self.header.format == "json" and (self.rows or not self.plain):
                self._text.write(",")
            self._text.write(self._line(row) + "\n")
        self.rows += 1
        if self._text.tell() >= _BLOCK:
            self._flush()

    def _flush(self) -> None:
        block = self._text.getvalue().encode()
        self._text.seek(0)
        self._text.truncate()
        self._hash.update(block)
        write_all(self._descriptor, self._compressor.compress(block) if self._compressor else block)

    def finish(self) -> tuple[int, str]:
        """Write what is left and the header, sync, and give the file its name. The number of rows, and the hash.

        Raises UsageError when somebody else has taken the name meanwhile, OSError.
        """
        if self.header.format == "json":
            self._text.write("]\n")
        self._flush()
        if self._compressor:
            write_all(self._descriptor, self._compressor.flush())
        digest = self._hash.hexdigest()
        if not self.plain:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            write_all(self._descriptor, self._filled(self._opening(self.rows, digest)))
        os.fsync(self._descriptor)
        try:
            self._name()
        except FileExistsError as problem:
            raise taken(self.path) from problem
        sync_directory(os.path.dirname(self.path) or ".")
        return self.rows, digest

    def _name(self) -> None:
        if not self._partial:
            # Only with src_dir_fd does Python call linkat(2) so that it follows /proc's link to the file.
            os.link(f"/proc/self/fd/{self._descriptor}", self.path, src_dir_fd=self._descriptor)
            return
        try:
            os.link(self._partial, self.path)
        except OSError as problem:
            # A file system without links, such as FAT, or one in user space.
            if problem.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            if os.path.lexists(self.path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path) from None
            os.rename(self._partial, self.path)

    def _opening(self, rows: int, digest: str) -> bytes:
        before = {"csv": COMMENT, "json": "["}.get(self.header.format, "")
        return (before + self.header.record(rows, digest)).encode()

    def _filled(self, line: bytes) -> bytes:
        """The header's line, in exactly the room that was kept."""
        if self._level is None:
            return line.ljust(self._room - 1) + b"\n"
        frame: bytes = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(line + b"\n")
        rest = self._room - len(frame) - _SKIPPED.size
        return frame + _SKIPPED.pack(_SKIPPED_MAGIC, rest) + bytes(rest)


def _new_file(path: str) -> tuple[int, str]:
    """A descriptor, and the hidden name beside ``path``: empty where the file has none yet, so no kill leaves it."""
    folder = os.path.dirname(path) or "."
    try:
        return os.open(folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600), ""
    except OSError as problem:
        if problem.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    descriptor, partial = tempfile.mkstemp(prefix=".litekeep-export-", suffix=".partial", dir=folder)
    return descriptor, partial


def taken(path: str) -> UsageError:
    """The error for an output that stands there already."""
    return UsageError(
        f"{path} already exists",
        expected="a free path",
        safe="nothing was changed; that file is as it was",
        next_step="choose another --output, or move that file away first",
    )
