from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit.places import Disk, as_nobody, open_to_all

from litekeep import backup, manifest, repository, timefmt
from litekeep.config import Database
from litekeep.errors import BusyError, UsageError, VerificationError
from litekeep.repository import Backup, Partial, Repository

STARTED = dt.datetime(2026, 11, 22, 2, 0, 0, 123000, dt.timezone.utc)


def commit(
    kept: Repository, started: dt.datetime = STARTED, snapshot: dt.datetime | None = None, **more: Any
) -> Partial:
    """A backup of one small file, by the same steps as a real one."""
    with kept.writing("events"):
        partial = kept.begin("events", "full", started)
        Path(partial.file("database.db.zst")).write_bytes(b"stored")
        kept.write_manifest(
            partial,
            {
                "format": {"name": manifest.FORMAT, "version": 1},
                "id": partial.id,
                "sequence": partial.sequence,
                "type": "full",
                "times": {"snapshot": timefmt.to_text(snapshot or started)},
                "files": [{"name": "database.db.zst", "size": 9, "sha256": "", "stored_size": 6, "stored_sha256": ""}],
                "verified": True,
                **more,
            },
        )
        kept.commit(partial)
    return partial


@pytest.fixture
def empty(tmp_path: Path) -> Repository:
    return Repository(str(tmp_path / "repository"), "host")


def states(kept: Repository) -> dict[str, str]:
    return {found.id: found.state for found in kept.catalogue("events").backups}


def test_a_committed_backup_stands_where_the_layout_says(empty: Repository, tmp_path: Path) -> None:
    partial = commit(empty)
    assert partial.final == str(tmp_path / "repository/host/events/backups/20261122T020000.123Z-full")
    assert sorted(os.listdir(partial.final)) == ["database.db.zst", "manifest.json"]
    assert states(empty) == {"20261122T020000.123Z-full": "verified"}


def test_everything_in_the_repository_is_private(empty: Repository, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        commit(empty)
        empty.record_verification("events", "x", "")
        with empty.lease("events"):
            pass
    finally:
        os.umask(before)
    written = [path for path in (tmp_path / "repository").rglob("*") if path.name != "database.db.zst"]
    assert len(written) == 8
    assert [str(path) for path in written if path.stat().st_mode & 0o077] == []
    assert (tmp_path / "repository").stat().st_mode & 0o077 == 0


def test_a_backup_that_is_being_built_is_not_seen(empty: Repository) -> None:
    with empty.writing("events"):
        partial = empty.begin("events", "full", STARTED)
        assert os.path.basename(partial.folder) == f".partial-{partial.id}"
        assert states(empty) == {}


def test_what_a_killed_backup_left_goes_with_the_next_one_and_nothing_else(empty: Repository) -> None:
    done = commit(empty)
    with empty.writing("events"):
        left = empty.begin("events", "full", STARTED + dt.timedelta(days=1))
    Path(left.file("staging")).mkdir()
    again = commit(empty, STARTED + dt.timedelta(days=2))
    assert sorted(os.listdir(os.path.dirname(done.final))) == [done.id, again.id]


def test_sequences_count_on_and_ids_never_collide(empty: Repository) -> None:
    found = [commit(empty) for _same_moment in range(3)]
    assert [partial.sequence for partial in found] == [1, 2, 3]
    assert [partial.id for partial in found] == [f"20261122T020000.{n}Z-full" for n in (123, 124, 125)]


def test_order_is_by_recorded_time_then_sequence_and_never_by_name(empty: Repository) -> None:
    day = dt.timedelta(days=1)
    late = commit(empty, STARTED, snapshot=STARTED + 3 * day)
    early = commit(empty, STARTED + day, snapshot=STARTED)
    also_late = commit(empty, STARTED - day, snapshot=STARTED + 3 * day)
    assert list(states(empty)) == [early.id, late.id, also_late.id]
    newest = empty.catalogue("events").newest
    assert newest is not None
    assert newest.id == also_late.id


def test_two_backups_of_one_database_at_once_cannot_be(empty: Repository) -> None:
    with empty.writing("events"), pytest.raises(BusyError) as caught, empty.writing("events"):
        pytest.fail("two at once")
    assert caught.value.found == f"backup of events, process {os.getpid()}"


def test_two_databases_can_be_backed_up_at_once(empty: Repository) -> None:
    with empty.writing("events"), empty.writing("other"):
        assert empty.databases() == ["events", "other"]


def test_a_repository_that_was_never_used_has_nothing_and_stays_unmade(empty: Repository) -> None:
    assert empty.databases() == []
    assert empty.catalogue("events").backups == ()
    assert empty.catalogue("events").newest is None
    with empty.lease("events"):
        pass
    assert not os.path.exists(empty.root)


def test_backups_of_another_host_are_not_seen(empty: Repository) -> None:
    commit(empty)
    other = Repository(empty.root, "other")
    assert other.catalogue("events").backups == ()
    assert other.databases() == []


def test_a_folder_without_a_manifest_does_not_count(empty: Repository) -> None:
    partial = commit(empty)
    os.unlink(os.path.join(partial.final, "manifest.json"))
    found = empty.catalogue("events").backups[0]
    assert (found.state, found.manifest) == (repository.UNREADABLE, None)
    assert "No such file" in found.problem


def test_a_manifest_in_a_folder_of_another_name_does_not_count(empty: Repository) -> None:
    partial = commit(empty)
    moved = os.path.join(os.path.dirname(partial.final), "20270101T000000.000Z-full")
    os.rename(partial.final, moved)
    found = empty.catalogue("events").backups[0]
    assert found.state == repository.UNREADABLE
    assert partial.id in found.problem


def test_a_manifest_of_a_newer_format_does_not_count_and_hides_nothing(empty: Repository) -> None:
    good = commit(empty)
    newer = commit(empty)
    path = Path(newer.final, "manifest.json")
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    assert states(empty) == {newer.id: repository.NEWER, good.id: repository.VERIFIED}


def test_a_damaged_source_is_kept_and_never_counts(empty: Repository) -> None:
    checks = {"integrity": {"result": "failed", "messages": ["row 3 missing", "b", "c", "d"]}}
    partial = commit(empty, verified=False, checks=checks)
    found = empty.catalogue("events").find(partial.id)
    assert found is not None
    assert found.state == repository.BAD_SOURCE
    assert found.problem.endswith("row 3 missing; b; c")
    assert empty.catalogue("events").restore_points == ()
    bare = commit(empty, STARTED + dt.timedelta(days=1), verified=False, checks=7)
    assert str(getattr(empty.catalogue("events").find(bare.id), "problem", "")).endswith("unknown")


def test_the_last_verification_decides_and_is_remembered(empty: Repository) -> None:
    partial = commit(empty)
    before = timefmt.now()
    empty.record_verification("events", partial.id, "")
    found = empty.catalogue("events").backups[0]
    assert found.last_verified is not None
    assert found.last_verified >= before
    empty.record_verification("events", partial.id, "a byte flipped")
    found = empty.catalogue("events").backups[0]
    assert (found.state, found.problem, found.last_verified) == (repository.DAMAGED, "a byte flipped", None)
    empty.record_verification("events", partial.id, "")
    assert states(empty) == {partial.id: repository.VERIFIED}


def test_a_backup_that_was_never_read_again_was_verified_when_it_was_taken(empty: Repository) -> None:
    commit(empty)
    assert empty.catalogue("events").backups[0].last_verified == STARTED


def test_each_verification_is_a_line_of_its_own_with_a_time(empty: Repository) -> None:
    commit(empty)
    empty.record_verification("events", "a", "")
    empty.record_verification("events", "b", "gone")
    lines = Path(empty.folder("events"), "verifications.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [(e["backup"], e["result"], e["problem"]) for e in entries] == [("a", "ok", ""), ("b", "failed", "gone")]
    assert all(timefmt.from_text(entry["time"]) for entry in entries)


ID = "20261122T020000.123Z-full"


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.text(max_size=40).map(str.encode),
            st.dictionaries(
                st.sampled_from(["backup", "result", "time", "problem", "x"]),
                st.one_of(st.none(), st.integers(), st.text(max_size=5), st.sampled_from([ID, "ok"])),
            ).map(lambda entry: json.dumps(entry).encode()),
        ),
        max_size=5,
    )
)
@example([b'{"backup": "' + ID.encode() + b'", "result": "ok", "time": "0001-01-01T00:00:00+14:00"}'])
@example([b"[" * 100_000])
@example([b'{"backup": "' + ID.encode() + b'", "result": "ok"}'])
@example([b'{"backup": {}}', b"5", b"null"])
def test_a_garbled_history_makes_no_catalogue_fail(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    kept = Repository(str(tmp_path_factory.getbasetemp() / "garbled"), "host")
    if not os.path.exists(kept.root):
        commit(kept)
    Path(kept.folder("events"), "verifications.jsonl").write_bytes(b"\n".join(lines))
    assert len(kept.catalogue("events").backups) == 1


def test_a_history_that_cannot_be_opened_makes_no_catalogue_fail(empty: Repository) -> None:
    partial = commit(empty)
    Path(empty.folder("events"), "verifications.jsonl").mkdir()
    assert states(empty) == {partial.id: repository.VERIFIED}


def test_a_stray_file_among_the_backups_is_shown_and_does_not_count(empty: Repository) -> None:
    partial = commit(empty)
    Path(os.path.dirname(partial.final), "notes.txt").write_text("mine")
    assert states(empty) == {"notes.txt": repository.UNREADABLE, partial.id: repository.VERIFIED}


def test_a_manifest_that_was_not_written_whole_is_noticed_before_the_commit(empty: Repository) -> None:
    with empty.writing("events"):
        partial = empty.begin("events", "full", STARTED)
        with pytest.raises(VerificationError):
            empty.write_manifest(partial, {"format": {"name": manifest.FORMAT, "version": 1}})


def test_a_repository_that_may_not_be_read_says_who_may(empty: Repository, tmp_path: Path) -> None:
    commit(empty)
    open_to_all(tmp_path)
    backups = Path(empty.folder("events"), "backups")
    for folder in (Path(empty.root), Path(empty.root, "host"), Path(empty.folder("events"))):
        folder.chmod(0o755)
    backups.chmod(0)

    def work() -> None:
        with pytest.raises(UsageError, match="cannot be read") as caught:
            empty.catalogue("events")
        assert "root" in caught.value.next_step

    try:
        as_nobody(work)
    finally:
        backups.chmod(0o700)


def test_a_read_only_repository_can_be_listed_and_leased(on_disk: Callable[..., None]) -> None:
    def work(disk: Disk) -> None:
        kept = Repository(str(disk / "repository"), "host")
        partial = commit(kept)
        disk.seal()
        with kept.lease("events"):
            assert states(kept) == {partial.id: repository.VERIFIED}
        with pytest.raises(OSError, match="Read-only"):
            kept.record_verification("events", partial.id, "")
        with pytest.raises(OSError, match="Read-only"), kept.writing("events"):
            pytest.fail("writing")

    on_disk(work)


def test_several_readers_hold_a_lease_and_a_writer_still_works(empty: Repository) -> None:
    commit(empty)
    with empty.lease("events"), empty.lease("events"):
        commit(empty)
    assert len(states(empty)) == 2


def test_a_backup_is_found_by_its_id(kept: tuple[Repository, Database], saved: Backup) -> None:
    catalogue = kept[0].catalogue("events")
    assert catalogue.find(saved.id) == saved
    assert catalogue.find("latest") is None
    assert catalogue.newest == saved


def test_a_repository_can_be_moved_as_a_whole(kept: tuple[Repository, Database], saved: Backup, tmp_path: Path) -> None:
    shutil.move(kept[0].root, tmp_path / "elsewhere")
    moved = Repository(str(tmp_path / "elsewhere"), "host")
    found = moved.catalogue("events").newest
    assert found is not None
    assert found.id == saved.id
    assert backup.plan(moved, kept[1], max_age=3600).needed is False
