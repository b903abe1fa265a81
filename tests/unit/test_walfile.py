from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import make_database
from unit.crashes import leave_wal

from litekeep import walfile
from litekeep.walfile import WalPosition


@contextlib.contextmanager
def wal_index(path: Path) -> Iterator[int]:
    descriptor = os.open(f"{path}-shm", os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def real_frames(wal: Path) -> tuple[tuple[int, int], int]:
    """Salts of the WAL's header, and how many frames belong to it: read without Litekeep."""
    block = wal.read_bytes()
    page_size, salts = struct.unpack_from(">I", block, 8)[0], block[16:24]
    count = 0
    for offset in range(32, len(block) - 23, 24 + page_size):
        if block[offset + 8 : offset + 16] != salts:
            break
        count += 1
    return struct.unpack(">II", salts), count


def test_the_position_is_the_last_committed_frame_of_the_wal(events: Path) -> None:
    leave_wal(events, rows=7)
    with wal_index(events) as descriptor:
        found = walfile.read_position(descriptor)
    assert found is not None
    assert (found.salts, found.frame) == real_frames(Path(f"{events}-wal"))
    assert found.frame >= 7


def test_the_position_moves_with_a_commit_and_not_with_an_open_transaction(events: Path) -> None:
    with contextlib.closing(sqlite3.connect(events, isolation_level=None)) as db:
        db.execute("INSERT INTO events(kind) VALUES('a')")
        with contextlib.ExitStack() as stack:
            descriptor = stack.enter_context(wal_index(events))
            before = walfile.read_position(descriptor)
            db.execute("BEGIN")
            db.execute("INSERT INTO events(kind) VALUES('b')")
            assert walfile.read_position(descriptor) == before
            db.execute("COMMIT")
            after = walfile.read_position(descriptor)
            db.close()
    assert before is not None
    assert after is not None
    assert after.salts == before.salts
    assert after.frame > before.frame


@pytest.mark.parametrize(
    "change",
    [
        lambda block: b"",
        lambda block: block[:95],
        lambda block: block[:16] + b"\xff" + block[17:],
        lambda block: block[:48] + bytes(48),
        lambda block: bytes(96),
    ],
    ids=["empty", "short", "two copies differ", "second not written", "not initialised"],
)
def test_a_wal_index_in_the_middle_of_a_change_has_no_position(tmp_path: Path, events: Path, change: object) -> None:
    leave_wal(events, rows=1)
    index = tmp_path / "copy"
    index.write_bytes(change(Path(f"{events}-shm").read_bytes()[:96]))  # type: ignore[operator]
    descriptor = os.open(index, os.O_RDONLY)
    try:
        assert walfile.read_position(descriptor) is None
    finally:
        os.close(descriptor)


def test_a_position_in_json_is_what_the_manifest_holds() -> None:
    assert WalPosition((1, 4294967295), 12).to_json() == {"salts": [1, 4294967295], "frame": 12}


def test_a_wal_with_commits_is_seen(events: Path) -> None:
    leave_wal(events)
    assert walfile.has_frames(f"{events}-wal")


def test_no_wal_an_empty_one_and_a_torn_one_have_no_frames(tmp_path: Path, events: Path) -> None:
    leave_wal(events, rows=1)
    block = Path(f"{events}-wal").read_bytes()
    torn = tmp_path / "torn"
    assert not walfile.has_frames(str(torn))
    for length in (0, 31, 32, 55):
        torn.write_bytes(block[:length])
        assert not walfile.has_frames(str(torn))
    torn.write_bytes(block[:56])
    assert walfile.has_frames(str(torn))


def test_the_frames_of_an_older_round_do_not_count(tmp_path: Path, events: Path) -> None:
    leave_wal(events, rows=1)
    block = bytearray(Path(f"{events}-wal").read_bytes())
    block[16] ^= 1
    (tmp_path / "reset").write_bytes(block)
    assert not walfile.has_frames(str(tmp_path / "reset"))


def test_another_file_is_no_wal(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(100))
    assert not walfile.has_frames(str(tmp_path / "zeros"))


def test_a_wal_of_a_big_endian_checksum_counts_too(tmp_path: Path, events: Path) -> None:
    leave_wal(events, rows=1)
    block = bytearray(Path(f"{events}-wal").read_bytes())
    for magic in (0x377F0682, 0x377F0683):
        struct.pack_into(">I", block, 0, magic)
        (tmp_path / "wal").write_bytes(block)
        assert walfile.has_frames(str(tmp_path / "wal"))


def test_a_database_that_was_closed_well_leaves_no_frames(tmp_path: Path) -> None:
    path = make_database(tmp_path / "x.db")
    assert not walfile.has_frames(f"{path}-wal")
