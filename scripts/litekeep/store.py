# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stored artefacts: zstd files with checksums, written once, hashed on both sides, read back.

Any ``zstd -d`` reads them (RFC 8878).
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from .errors import UsageError, VerificationError
from .files import CHUNK, sync_file, write_all, write_blocks
from .progress import Progress

if TYPE_CHECKING:
    import zstandard
else:
    try:
        import zstandard
    except ImportError:
        zstandard = None


@dataclass(frozen=True)
class Stored:
    """One stored file: sizes in bytes, and SHA-256 (hex), before and after compression."""

    name: str
    size: int
    sha256: str
    stored_size: int
    stored_sha256: str

    def to_json(self) -> dict[str, object]:
        """As manifests hold it."""
        return {
            "name": self.name,
            "size": self.size,
            "sha256": self.sha256,
            "stored_size": self.stored_size,
            "stored_sha256": self.stored_sha256,
        }


class CancelledError(Exception):
    """The work was called off because the work beside it failed."""


def require_zstandard() -> str:
    """The version of python3-zstandard; UsageError, with the package's name, when it is not installed."""
    if zstandard is None:
        raise UsageError(
            "The Python module zstandard is missing",
            expected="the distribution's package python3-zstandard",
            next_step="run: apt-get install python3-zstandard (or the playbook install.yml)",
        )
    return str(zstandard.__version__)


def compress(path: str, stored: str, level: int, progress: Progress, cancelled: threading.Event) -> Stored:
    """Compress ``path`` into the new file ``stored`` and sync it. Memory stays flat.

    Raises OSError when the disk refuses, CancelledError when the event is set.
    """
    require_zstandard()
    raw_hash, stored_hash = hashlib.sha256(), hashlib.sha256()
    size = os.path.getsize(path)
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj(size=size)
    stored_size = 0

    def compressed() -> Iterator[bytes]:
        done = 0
        for block in _mapped(path):
            if cancelled.is_set():
                raise CancelledError
            raw_hash.update(block)
            done += len(block)
            progress.advance("compress", done, size)
            yield compressor.compress(block)
        yield compressor.flush()

    def counted() -> Iterator[bytes]:
        nonlocal stored_size
        for block in compressed():
            stored_hash.update(block)
            stored_size += len(block)
            yield block

    write_blocks(counted(), stored)
    sync_file(stored)
    return Stored(os.path.basename(stored), size, raw_hash.hexdigest(), stored_size, stored_hash.hexdigest())


def packed(content: bytes) -> bytes:
    """A small content as a zstd file."""
    require_zstandard()
    return bytes(zstandard.ZstdCompressor(level=3, write_checksum=True).compress(content))


def unpacked(stored: bytes, size: int) -> bytes:
    """The content of what ``packed`` made. Raises ValueError when it is not whole, or has another size.

    A hostile one costs no more memory than that.
    """
    require_zstandard()
    try:
        if zstandard.frame_content_size(stored) != size:
            raise ValueError(f"it does not hold {size} bytes")
        return bytes(zstandard.ZstdDecompressor().decompress(stored))
    except zstandard.ZstdError as problem:
        raise ValueError(str(problem)) from problem


class StreamWriter:
    """A new stored file whose content comes piece by piece."""

    def __init__(self, path: str, level: int) -> None:
        require_zstandard()
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj()
        self._hash, self._stored_hash = hashlib.sha256(), hashlib.sha256()
        self.size = self._stored_size = 0

    def write(self, block: bytes) -> None:
        """The next bytes. Raises OSError."""
        self._hash.update(block)
        self.size += len(block)
        self._store(self._compressor.compress(block))

    def _store(self, block: bytes) -> None:
        write_all(self._descriptor, block)
        self._stored_hash.update(block)
        self._stored_size += len(block)

    def seal(self) -> Stored:
        """Write what is left; no more will come. Raises OSError."""
        self._store(self._compressor.flush())
        return Stored(
            os.path.basename(self.path),
            self.size,
            self._hash.hexdigest(),
            self._stored_size,
            self._stored_hash.hexdigest(),
        )

    def sync(self) -> None:
        """Make what was written durable, and close the file. Raises OSError."""
        os.fsync(self._descriptor)
        self._close()

    def discard(self) -> None:
        """Remove the file."""
        self._close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def _close(self) -> None:
        """Once: the number may be another file's by now."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def concatenate(parts: Iterable[tuple[str, Stored]], path: str) -> None:
    """Write stored files one after the other into a new one: again a zstd file. Syncs it.

    Raises VerificationError when a part is not what it was, OSError.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as writer:
        for name, expected in parts:
            found = hashlib.sha256()
            with open(name, "rb") as reader:
                while block := reader.read(CHUNK):
                    found.update(block)
                    writer.write(block)
            if found.hexdigest() != expected.stored_sha256:
                raise _damaged(name, f"sha256 {expected.stored_sha256}", f"sha256 {found.hexdigest()}")
        writer.flush()
        os.fsync(writer.fileno())


def _mapped(path: str) -> Iterator[memoryview]:
    """The blocks of a private file, out of the page cache without a copy: the check beside needs the memory bus."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return
        with mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as mapping, memoryview(mapping) as view:
            for start in range(0, size, CHUNK):
                with view[start : start + CHUNK] as block:
                    yield block


def read_back(
    stored: str,
    expected: Stored,
    progress: Progress,
    cancelled: threading.Event | None = None,
    original: str | None = None,
    part_at: int | None = None,
    twice: bool = True,
) -> Iterator[bytes]:
    """Read a stored file and hand out its decompressed blocks; when the last one is through, all of it is proven.

    part_at: where in the file the expected bytes begin; without it they are the whole file.

    The stored bytes by their hash, the content by zstd's checksum and its size; and ``twice``, by its own hash, or
    against the file ``original``, byte by byte: that proves the compression too, which a restore need not do again.
    Never hands out more than the expected size. Raises VerificationError that names the file, what was
    expected and what was found. What was handed out before that is worthless.
    """
    require_zstandard()
    content = _Compared(expected, original) if original else (_Hashed if twice else _Counted)(expected)
    try:
        with contextlib.closing(content), open(stored, "rb", buffering=0) as file:
            file.seek(part_at or 0)
            reader = _HashingReader(file, None if part_at is None else expected.stored_size)
            with zstandard.ZstdDecompressor().stream_reader(
                cast("BinaryIO", reader), read_size=CHUNK, read_across_frames=True, closefd=False
            ) as blocks:
                while content.size <= expected.size and (block := blocks.read(CHUNK)):
                    if cancelled is not None and cancelled.is_set():
                        raise CancelledError
                    content.take(block)
                    if content.size <= expected.size:
                        progress.advance("read back", content.size, expected.size)
                        yield block
            reader.drain()
            difference = content.difference()
    except (OSError, zstandard.ZstdError) as problem:
        raise _damaged(stored, "a readable zstd file", str(problem)) from problem
    if (reader.size, reader.hash.hexdigest()) != (expected.stored_size, expected.stored_sha256):
        raise _damaged(
            stored,
            f"{expected.stored_size} bytes, sha256 {expected.stored_sha256}",
            f"{reader.size} bytes, sha256 {reader.hash.hexdigest()}",
        )
    if difference:
        raise _damaged(stored, f"content of {expected.size} bytes, sha256 {expected.sha256}", difference)


class _Counted:
    """Content that follows from proven bytes."""

    def __init__(self, expected: Stored) -> None:
        self._expected = expected
        self.size = 0

    def take(self, block: bytes) -> None:
        """The next block."""
        self.size += len(block)

    def difference(self) -> str:
        """What is wrong with all that was taken, in words."""
        return "" if self.size == self._expected.size else f"content of {self.size} bytes"

    def close(self) -> None:
        """Nothing is open."""


class _Hashed(_Counted):
    """Content that is proven by its hash."""

    def __init__(self, expected: Stored) -> None:
        super().__init__(expected)
        self._hash = hashlib.sha256()

    def take(self, block: bytes) -> None:
        """The next block."""
        self._hash.update(block)
        super().take(block)

    def difference(self) -> str:
        """What is wrong with all that was taken, in words."""
        found = self._hash.hexdigest()
        return super().difference() or ("" if found == self._expected.sha256 else f"sha256 {found}")


class _Compared(_Counted):
    """Content that is proven against the file it was made from."""

    def __init__(self, expected: Stored, original: str) -> None:
        super().__init__(expected)
        self._original = open(original, "rb", buffering=0)  # noqa: SIM115 (closed by close)
        self._equal = True

    def take(self, block: bytes) -> None:
        """The next block."""
        self._equal = self._equal and os.pread(self._original.fileno(), len(block), self.size) == block
        super().take(block)

    def difference(self) -> str:
        """What is wrong with all that was taken, in words."""
        if self._equal and self.size == self._expected.size == os.fstat(self._original.fileno()).st_size:
            return ""
        return f"content of {self.size} bytes that differs from {self._original.name}"

    def close(self) -> None:
        """Close the original."""
        self._original.close()


class _HashingReader:
    """A file that remembers the hash and the number of all bytes read from it; of ``limit`` bytes, or to its end."""

    def __init__(self, file: BinaryIO, limit: int | None) -> None:
        self._file = file
        self._limit = limit
        self.hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int = CHUNK) -> bytes:
        """The next bytes, at most ``size`` of them."""
        block = self._file.read(size if self._limit is None else min(size, self._limit - self.size))
        self.hash.update(block)
        self.size += len(block)
        return block

    def drain(self) -> None:
        """Read on to the end: trailing bytes count, too."""
        while self.read():
            pass


def _damaged(stored: str, expected: str, found: str) -> VerificationError:
    return VerificationError(
        f"{stored} is not what was stored",
        expected=expected,
        found=found,
        safe="the other backups; this one no longer counts as a restore point",
        next_step="take a new backup now (litekeep backup), then check the disk below the repository",
    )
