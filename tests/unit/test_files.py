from __future__ import annotations

import errno
import json
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.places import Disk

from litekeep import files
from litekeep.errors import LitekeepError, SpaceError, UsageError

OnDisk = Callable[..., None]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_small_file_is_replaced_whole_and_is_private(tmp_path: Path) -> None:
    place = tmp_path / "a.txt"
    files.write_durably(str(place), "one, and long")
    before = place.stat().st_ino
    files.write_durably(str(place), "zwei ä")
    assert place.read_text(encoding="utf-8") == "zwei ä"
    assert place.stat().st_ino != before
    assert mode(place) == 0o600
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_kill_left_half_written_does_not_hinder_the_next_write(tmp_path: Path) -> None:
    (tmp_path / "a.txt.new").write_text("torn and much longer than what comes now")
    files.write_durably(str(tmp_path / "a.txt"), "whole")
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_a_link_laid_in_the_way_of_a_write_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "a.txt.new").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        files.write_durably(str(tmp_path / "a.txt"), "x")
    (tmp_path / "log").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        files.append_line(str(tmp_path / "log"), {})
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_file_stays_what_it_was_when_the_disk_is_full(on_disk: OnDisk) -> None:
    def work(disk: Disk) -> None:
        files.write_durably(str(disk / "a.txt"), "old")
        disk.fill()
        with pytest.raises(OSError, match="No space"):
            files.write_durably(str(disk / "a.txt"), "new" * 5000)
        assert (disk / "a.txt").read_text() == "old"

    on_disk(work)


def test_json_is_written_for_people_and_machines(tmp_path: Path) -> None:
    files.write_json(str(tmp_path / "a.json"), {"b": [1], "a": "ä"})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"b": [1], "a": "ä"}
    assert text.startswith('{\n  "b"')
    assert text.endswith("}\n")
    assert text.isascii()


def test_lines_are_appended_one_by_one(tmp_path: Path) -> None:
    place = tmp_path / "log"
    files.append_line(str(place), {"n": 1})
    files.append_line(str(place), {"n": 2})
    assert [json.loads(line) for line in place.read_text().splitlines()] == [{"n": 1}, {"n": 2}]
    assert mode(place) == 0o600


def test_a_line_torn_by_a_crash_costs_no_other_line(tmp_path: Path) -> None:
    place = tmp_path / "log"
    place.write_bytes(b'{"n": 1}\n{"n": ')
    files.append_line(str(place), {"n": 3})
    assert place.read_bytes() == b'{"n": 1}\n{"n": \n{"n": 3}\n'


def test_a_line_that_a_full_disk_cuts_short_is_an_error(on_disk: OnDisk) -> None:
    def work(disk: Disk) -> None:
        (disk / "log").write_bytes(b"x" * 4080 + b"\n")
        disk.fill()
        with pytest.raises(OSError, match="No space"):
            files.append_line(str(disk / "log"), {"words": "x" * 100})

    on_disk(work)


def test_blocks_become_a_private_file_and_nothing_is_overwritten(tmp_path: Path) -> None:
    blocks = [random.Random(n).randbytes(100_000) for n in range(20)]
    files.write_blocks(iter(blocks), str(tmp_path / "new"))
    assert (tmp_path / "new").read_bytes() == b"".join(blocks)
    assert mode(tmp_path / "new") == 0o600
    with pytest.raises(FileExistsError):
        files.write_blocks([], str(tmp_path / "new"))


@pytest.mark.parametrize("room", [4096, 8192, 40960])
def test_a_last_block_that_a_full_disk_cuts_short_is_an_error(on_disk: OnDisk, room: int) -> None:
    def work(disk: Disk) -> None:
        disk.fill(leave=room)
        with pytest.raises(OSError, match="No space"):
            files.write_blocks([b"x" * (room + 100)], str(disk / "new"))

    on_disk(work)


def test_missing_parents_are_made_private_and_a_second_time_is_fine(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        files.private_directory(str(tmp_path / "a" / "b" / "c"))
        files.private_directory(str(tmp_path / "a" / "b" / "c"))
    finally:
        os.umask(old)
    assert [mode(tmp_path / part) for part in ("a", "a/b", "a/b/c")] == [0o700] * 3


def test_a_directory_that_stands_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(0o755)
    files.private_directory(str(tmp_path / "a" / "b"))
    assert mode(tmp_path / "a") == 0o755


def test_a_tree_goes_whole_and_a_missing_one_is_fine(tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "file").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("tree", "file", "none"):
        files.remove_tree(str(tmp_path / name))
    assert os.listdir(tmp_path) == []


def test_removal_takes_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    files.remove_tree(str(tmp_path / "link"))
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["kept", "kept/file"]


def test_the_nearest_folder_that_exists_is_found(tmp_path: Path) -> None:
    assert files.existing_parent(str(tmp_path / "a" / "b")) == str(tmp_path)
    assert files.existing_parent(str(tmp_path)) == str(tmp_path)


def test_syncing_needs_the_thing_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    files.sync_file(str(tmp_path / "file"))
    files.sync_directory(str(tmp_path))
    assert (tmp_path / "file").read_bytes() == b"x" * 10_000
    with pytest.raises(FileNotFoundError):
        files.sync_file(str(tmp_path / "none"))
    with pytest.raises(NotADirectoryError):
        files.sync_directory(str(tmp_path / "file"))


def test_enough_space_is_no_error_even_where_the_folder_is_yet_to_be_made(tmp_path: Path) -> None:
    files.require_space({str(tmp_path / "later" / "deeper"): 1000}, "all")


def test_too_little_space_is_told_before_anything_is_written(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    with pytest.raises(SpaceError) as caught:
        files.require_space({str(tmp_path): free}, "the source")
    assert str(tmp_path) in caught.value.what
    assert caught.value.safe == "the source"
    assert "free at least" in caught.value.next_step
    assert list(tmp_path.iterdir()) == []


def test_needs_on_one_file_system_add_up_and_on_two_do_not(on_disk: OnDisk, tmp_path: Path) -> None:
    def work(disk: Disk) -> None:
        (disk / "a").mkdir()
        (disk / "b").mkdir()
        files.require_space({str(disk / "a"): 30 << 20}, "")
        files.require_space({str(disk / "a"): 30 << 20, str(tmp_path): 30 << 20}, "")
        with pytest.raises(SpaceError) as caught:
            files.require_space({str(disk / "a"): 30 << 20, str(disk / "b"): 30 << 20}, "")
        assert "MB free" in caught.value.found

    on_disk(work, size="64m")


def test_a_margin_is_left_free(on_disk: OnDisk) -> None:
    def work(disk: Disk) -> None:
        with pytest.raises(SpaceError):
            files.require_space({str(disk.path): 1}, "")

    on_disk(work, size="15m")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_is_a_space_error(number: int) -> None:
    with pytest.raises(SpaceError) as caught, files.storage_errors("Backup of x", "/repo", "all"):
        raise OSError(number, os.strerror(number))
    assert caught.value.what == "Backup of x: no space left in /repo"
    assert caught.value.safe == "all"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_no_right_to_write_is_a_usage_error_that_names_the_file(number: int) -> None:
    with pytest.raises(UsageError) as caught, files.storage_errors("Backup of x", "/repo", "all"):
        raise OSError(number, os.strerror(number), "/repo/a")
    assert "cannot be written" in caught.value.what
    assert caught.value.found.endswith(": /repo/a")


def test_a_sick_disk_is_told_as_such() -> None:
    with pytest.raises(LitekeepError) as caught, files.storage_errors("Backup of x", "/repo", "all"):
        raise OSError(errno.EIO, "Input/output error")
    assert caught.value.exit_code == 1
    assert "dmesg" in caught.value.next_step


def test_other_errors_pass_through_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), files.storage_errors("Backup of x", "/repo", "all"):
        raise ZeroDivisionError


def test_a_full_disk_is_told_in_words_where_it_really_is_full(on_disk: OnDisk) -> None:
    def work(disk: Disk) -> None:
        disk.fill()
        with pytest.raises(SpaceError), files.storage_errors("It", str(disk.path), "all"):
            files.write_durably(str(disk / "a"), "x" * 10_000)

    on_disk(work)


def test_a_read_only_disk_is_told_in_words_where_it_really_is_one(on_disk: OnDisk) -> None:
    def work(disk: Disk) -> None:
        disk.seal()
        with pytest.raises(UsageError) as caught, files.storage_errors("It", str(disk.path), "all"):
            files.private_directory(str(disk / "a" / "b"))
        assert "Read-only file system" in caught.value.found

    on_disk(work)
