from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support import flip
from unit.places import Disk

from litekeep import store
from litekeep.errors import UsageError, VerificationError
from litekeep.progress import Progress
from litekeep.store import Stored

CONTENT = b"".join(b"line %d of a database\n" % n for n in range(3000)) + random.Random(3).randbytes(3000)


def compress(folder: Path, content: bytes, level: int = 3, progress: Progress | None = None) -> Stored:
    (folder / "raw").write_bytes(content)
    (folder / "raw.zst").unlink(missing_ok=True)
    return store.compress(
        str(folder / "raw"), str(folder / "raw.zst"), level, progress or Progress(), threading.Event()
    )


def read(folder: Path, expected: Stored) -> bytes:
    return b"".join(store.read_back(str(folder / "raw.zst"), expected, Progress()))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Stored, bytes]:
    """A stored file that tests change and put back."""
    folder = tmp_path_factory.mktemp("shelf")
    stored = compress(folder, CONTENT)
    return folder, stored, (folder / "raw.zst").read_bytes()


@given(
    content=st.one_of(st.binary(max_size=5000), st.binary(max_size=50).map(lambda b: b * 9000)), level=st.integers(1, 9)
)
def test_what_was_stored_is_read_back(tmp_path_factory: pytest.TempPathFactory, content: bytes, level: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    stored = compress(folder, content, level)
    assert read(folder, stored) == content
    assert stored == Stored(
        "raw.zst",
        len(content),
        hashlib.sha256(content).hexdigest(),
        (folder / "raw.zst").stat().st_size,
        hashlib.sha256((folder / "raw.zst").read_bytes()).hexdigest(),
    )


@given(data=st.data())
def test_a_changed_byte_anywhere_is_noticed(shelf: tuple[Path, Stored, bytes], data: st.DataObject) -> None:
    folder, stored, good = shelf
    position = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[position] ^= data.draw(st.integers(1, 255))
    (folder / "raw.zst").write_bytes(bad)
    with pytest.raises(VerificationError, match="is not what was stored"):
        read(folder, stored)


@given(data=st.data())
def test_a_stored_file_cut_anywhere_is_noticed(shelf: tuple[Path, Stored, bytes], data: st.DataObject) -> None:
    folder, stored, good = shelf
    (folder / "raw.zst").write_bytes(good[: data.draw(st.integers(0, len(good) - 1))])
    with pytest.raises(VerificationError, match="is not what was stored"):
        read(folder, stored)


@given(more=st.binary(min_size=1, max_size=100))
def test_bytes_behind_the_end_are_noticed(shelf: tuple[Path, Stored, bytes], more: bytes) -> None:
    folder, stored, good = shelf
    (folder / "raw.zst").write_bytes(good + more)
    with pytest.raises(VerificationError):
        read(folder, stored)


def test_another_content_that_is_a_good_zstd_file_is_noticed(tmp_path: Path) -> None:
    stored = compress(tmp_path, CONTENT)
    changed = bytearray(CONTENT)
    changed[5000] ^= 1
    compress(tmp_path, bytes(changed))
    with pytest.raises(VerificationError) as caught:
        read(tmp_path, stored)
    assert stored.stored_sha256 in caught.value.expected
    assert str(tmp_path / "raw.zst") in caught.value.what


def test_a_manifest_that_is_wrong_about_the_content_is_noticed(tmp_path: Path) -> None:
    stored = compress(tmp_path, CONTENT)
    with pytest.raises(VerificationError) as caught:
        read(tmp_path, dataclasses.replace(stored, sha256="0" * 64))
    assert caught.value.expected.startswith("content of ")


@pytest.mark.parametrize(
    "harm",
    [
        lambda p: flip(p, 0),
        lambda p: flip(p, len(CONTENT) - 1),
        lambda p: p.write_bytes(CONTENT[:-1]),
        lambda p: p.write_bytes(CONTENT + b"x"),
    ],
    ids=["first byte", "last byte", "shorter", "longer"],
)
def test_content_that_is_not_the_checked_copy_is_noticed(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    """A bit may flip on the way from the copy that passed the checks into the compressor."""
    stored = compress(tmp_path, CONTENT)

    def compare() -> bytes:
        place, original = str(tmp_path / "raw.zst"), str(tmp_path / "raw")
        return b"".join(store.read_back(place, stored, Progress(), original=original))

    assert compare() == CONTENT
    harm(tmp_path / "raw")
    with pytest.raises(VerificationError, match="is not what was stored") as caught:
        compare()
    assert str(tmp_path / "raw") in caught.value.found


def test_stored_bytes_are_proven_by_their_hash_beside_the_checked_copy_too(tmp_path: Path) -> None:
    stored = compress(tmp_path, CONTENT, level=1)
    compress(tmp_path, CONTENT, level=9)
    with pytest.raises(VerificationError) as caught:
        list(store.read_back(str(tmp_path / "raw.zst"), stored, Progress(), original=str(tmp_path / "raw")))
    assert stored.stored_sha256 in caught.value.expected


def test_no_more_is_handed_out_than_was_promised(tmp_path: Path) -> None:
    stored = compress(tmp_path, bytes(40 << 20))
    blocks = store.read_back(str(tmp_path / "raw.zst"), dataclasses.replace(stored, size=5 << 20), Progress())
    handed_out: list[int] = []
    with pytest.raises(VerificationError):
        handed_out.extend(map(len, blocks))
    assert 0 < sum(handed_out) <= 5 << 20


def test_a_missing_stored_file_is_a_verification_error(tmp_path: Path) -> None:
    stored = compress(tmp_path, b"x")
    (tmp_path / "raw.zst").unlink()
    with pytest.raises(VerificationError) as caught:
        read(tmp_path, stored)
    assert "No such file" in caught.value.found


def test_the_plain_zstd_command_reads_it_and_sees_the_checksum(tmp_path: Path) -> None:
    compress(tmp_path, CONTENT, level=19)
    done = subprocess.run(["zstd", "-dc", str(tmp_path / "raw.zst")], capture_output=True, check=True)
    assert done.stdout == CONTENT
    parameters = zstandard.get_frame_parameters((tmp_path / "raw.zst").read_bytes()[:64])
    assert parameters.has_checksum
    assert parameters.content_size == len(CONTENT)


def test_a_file_that_stands_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"x")
    (tmp_path / "raw.zst").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        store.compress(str(tmp_path / "raw"), str(tmp_path / "raw.zst"), 3, Progress(), threading.Event())
    assert (tmp_path / "raw.zst").read_bytes() == b"precious"


def test_a_stored_file_is_private(tmp_path: Path) -> None:
    compress(tmp_path, b"x")
    assert (tmp_path / "raw.zst").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_the_systems_own_error(on_disk: Callable[..., None]) -> None:
    def work(disk: Disk) -> None:
        (disk / "raw").write_bytes(random.Random(1).randbytes(200_000))
        disk.fill(leave=40_960)
        with pytest.raises(OSError, match="No space"):
            store.compress(str(disk / "raw"), str(disk / "raw.zst"), 3, Progress(), threading.Event())

    on_disk(work)


def test_work_that_is_called_off_stops_on_both_sides(tmp_path: Path) -> None:
    class Stop(Progress):
        def __init__(self) -> None:
            self.event, self.seen = threading.Event(), 0

        def advance(self, label: str, done: int, total: int) -> None:
            self.seen = done
            self.event.set()

    content = random.Random(1).randbytes(5 << 20)
    stored = compress(tmp_path, content)
    stop = Stop()
    with pytest.raises(store.CancelledError):
        store.compress(str(tmp_path / "raw"), str(tmp_path / "again.zst"), 3, stop, stop.event)
    assert stop.seen < len(content)
    stop = Stop()
    with pytest.raises(store.CancelledError):
        for _block in store.read_back(str(tmp_path / "raw.zst"), stored, stop, stop.event):
            pass
    assert stop.seen < len(content)


def test_progress_ends_with_all_bytes_on_both_sides(tmp_path: Path) -> None:
    class Record(Progress):
        def __init__(self) -> None:
            self.last: dict[str, tuple[int, int]] = {}

        def advance(self, label: str, done: int, total: int) -> None:
            self.last[label] = done, total

    record = Record()
    stored = compress(tmp_path, CONTENT, progress=record)
    list(store.read_back(str(tmp_path / "raw.zst"), stored, record))
    assert record.last == {label: (len(CONTENT), len(CONTENT)) for label in ("compress", "read back")}


def test_a_missing_python_module_is_told_with_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert store.require_zstandard() == zstandard.__version__
    monkeypatch.setattr(store, "zstandard", None)
    with pytest.raises(UsageError) as caught:
        compress(tmp_path, b"x")
    assert "python3-zstandard" in caught.value.next_step
    assert not os.path.exists(tmp_path / "raw.zst")


def test_a_stored_file_in_json_is_what_the_manifest_holds() -> None:
    assert Stored("a.zst", 5, "aa", 3, "bb").to_json() == {
        "name": "a.zst",
        "size": 5,
        "sha256": "aa",
        "stored_size": 3,
        "stored_sha256": "bb",
    }


# -- written as it comes, and joined


def streamed(path: Path, blocks: list[bytes]) -> Stored:
    out = store.StreamWriter(str(path), 2)
    for block in blocks:
        out.write(block)
    assert out.size == sum(map(len, blocks))
    stored = out.seal()
    out.sync()
    return stored


@given(st.lists(st.binary(max_size=3000), max_size=5))
def test_what_was_streamed_is_read_back_by_zstd_too(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "streamed.zst"
    path.unlink(missing_ok=True)
    stored = streamed(path, blocks)
    assert stored.stored_size == path.stat().st_size
    assert b"".join(store.read_back(str(path), stored, Progress())) == b"".join(blocks)
    assert zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()) == b"".join(blocks)


def test_a_stream_that_is_given_up_leaves_nothing_and_never_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.zst"
    out = store.StreamWriter(str(path), 2)
    out.write(b"x" * 1000)
    with pytest.raises(FileExistsError):
        store.StreamWriter(str(path), 2)
    out.discard()
    out.discard()
    assert not path.exists()
    assert streamed(path, [b"again"]).size == 5


@pytest.fixture
def joined(tmp_path: Path) -> tuple[Path, list[tuple[str, Stored, bytes]]]:
    parts = []
    for number, block in enumerate((b"one " * 3000, b"", random.Random(5).randbytes(5000))):
        path = tmp_path / f"{number}.zst"
        parts.append((str(path), streamed(path, [block]), block))
    store.concatenate([(path, stored) for path, stored, _block in parts], str(tmp_path / "all.zst"))
    return tmp_path / "all.zst", parts


def test_joined_files_are_one_file_that_zstd_reads(joined: tuple[Path, list[tuple[str, Stored, bytes]]]) -> None:
    path, parts = joined
    done = subprocess.run(["zstd", "-dc", str(path)], capture_output=True, check=True)
    assert done.stdout == b"".join(block for _path, _stored, block in parts)


def test_each_part_of_a_joined_file_can_be_read_alone(joined: tuple[Path, list[tuple[str, Stored, bytes]]]) -> None:
    path, parts = joined
    at = 0
    for _path, stored, block in parts:
        assert b"".join(store.read_back(str(path), stored, Progress(), part_at=at)) == block
        at += stored.stored_size


def test_a_part_read_at_a_wrong_place_or_changed_is_noticed(
    joined: tuple[Path, list[tuple[str, Stored, bytes]]],
) -> None:
    path, parts = joined
    last = parts[2][1]
    at = path.stat().st_size - last.stored_size
    for wrong in (0, at - 1, at + 1, path.stat().st_size, path.stat().st_size + 100):
        with pytest.raises(VerificationError):
            list(store.read_back(str(path), last, Progress(), part_at=wrong))
    flip(path, at + 30)
    with pytest.raises(VerificationError):
        list(store.read_back(str(path), last, Progress(), part_at=at))
    assert list(store.read_back(str(path), parts[0][1], Progress(), part_at=0)), "the others are whole"


def test_a_part_that_is_not_what_was_stored_is_not_joined(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    stored = streamed(path, [b"one " * 3000])
    flip(path, 10)
    with pytest.raises(VerificationError, match="is not what was stored"):
        store.concatenate([(str(path), stored)], str(tmp_path / "all.zst"))
    with pytest.raises(FileNotFoundError):
        store.concatenate([(str(tmp_path / "none"), stored)], str(tmp_path / "all.zst"))
