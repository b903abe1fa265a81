from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import flip, holding_open
from unit.archives import archiving

from litekeep import answers, backup, render
from litekeep.config import Database
from litekeep.errors import VerificationError
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository
from litekeep.timefmt import to_text

Kept = tuple[Repository, Database]
QUIET = Progress()


def lines(words: Any) -> str:
    return "\n".join(words)


def test_a_backup_says_where_it_is_and_how_sure_it_is(kept: Kept) -> None:
    answer = answers.backup(*kept, QUIET)
    taken: Any = answer["backup"]
    said = lines(render.backup(answer))
    assert said.startswith(f"events: verified backup {taken['id']} in ")
    assert "200 rows in 1 table\n" in said
    assert f"  stored    {taken['path']}, " in said
    assert "integrity ok" in said
    assert "foreign keys ok" in said
    assert "read back ok" in said


def test_a_backup_that_was_not_needed_says_why(kept: Kept, saved: Backup) -> None:
    said = lines(render.backup(answers.backup(*kept, QUIET, max_age=3600)))
    assert said.startswith("events: no backup needed; the newest verified backup is ")
    assert said.endswith(f"newest    {saved.id}")


def test_a_dry_run_is_no_backup(kept: Kept) -> None:
    said = lines(render.backup(answers.backup(*kept, QUIET, dry_run=True)))
    assert said == "events: a backup would be taken; there is no verified backup yet"


def test_warnings_are_said(kept: Kept, saved: Backup) -> None:
    answer: Any = answers.backup(*kept, QUIET)
    answer["backup"]["warnings"] = ["the database has no tables"]
    assert lines(render.backup(answer)).endswith("  warning   the database has no tables")


def test_a_verification_says_what_is_safe_and_what_comes_next_only_when_it_failed(kept: Kept, saved: Backup) -> None:
    said = lines(render.verify(answers.verify(*kept, QUIET)))
    assert said.startswith(f"events: {saved.id} verified (")
    assert "next" not in said
    newest = backup.take(*kept, QUIET)
    flip(Path(newest.folder, "database.db.zst"), 40)
    said = lines(render.verify(answers.verify(*kept, QUIET)))
    assert f"events: {newest.id} DAMAGED: " in said
    assert f"  safe      newest restore point: {saved.id}" in said
    assert "  next      litekeep backup events" in said
    flip(Path(saved.folder, "database.db.zst"), 40)
    assert "newest restore point: none" in lines(render.verify(answers.verify(*kept, QUIET, everything=True)))


def test_an_outcome_that_is_not_recorded_is_a_warning(kept: Kept, saved: Backup) -> None:
    answer: Any = answers.verify(*kept, QUIET)
    assert "warning" not in lines(render.verify(answer))
    answer["results"][0]["recorded"] = False
    assert "could not be written into the repository" in lines(render.verify(answer))


def test_a_live_database_is_sound_or_damaged_with_what_was_found(kept: Kept, events: Path) -> None:
    assert lines(render.verify_live(answers.verify_live(kept[1]))) == (
        "events: the live database is sound: integrity ok, foreign keys ok"
    )
    flip(events, 4096 * 3, 300)
    said = lines(render.verify_live(answers.verify_live(kept[1])))
    assert "DAMAGED: integrity failed" in said
    assert 1 <= said.count("  found     ") <= 10


def test_a_list_has_a_line_for_each_backup_good_or_bad(kept: Kept, saved: Backup, events: Path) -> None:
    broken = backup.take(*kept, QUIET)
    Path(broken.folder, "manifest.json").write_text("{")
    said = lines(render.catalogue(answers.listing(kept[0], "events"))).splitlines()
    assert said[0] == "events: 1 restore points in 2 backups"
    assert len(said) == 3
    assert f"{broken.id}" in said[1]
    assert "unreadable" in said[1]
    assert " ? " in said[1]
    assert saved.id in said[2]
    assert "last read 20" in said[2]


def test_status_says_protected_or_not_and_every_finding(kept: Kept, events: Path) -> None:
    said = lines(render.status(answers.status(*kept)))
    assert said.startswith("events: NOT PROTECTED AS WISHED\n")
    assert "newest    none, never" in said
    assert "  finding   there is no restore point" in said
    taken = backup.take(*kept, QUIET)
    said = lines(render.status(answers.status(*kept)))
    assert said.startswith(f"events: protected\n  source    {events}\n  newest    {taken.id}, ")
    assert "finding" not in said
    flip(events, 4096 * 3, 300)
    with pytest.raises(VerificationError):
        backup.take(*kept, QUIET)
    assert "bad source" in lines(render.status(answers.status(*kept)))


def test_a_plan_says_what_would_be_lost_and_who_is_in_the_way(kept: Kept, saved: Backup, events: Path) -> None:
    said = lines(render.restore(answers.restore(*kept, QUIET, action="plan")))
    assert f"events: {events} would be restored from {saved.id}" in said
    assert saved.manifest is not None
    assert f"  recovered the state of {to_text(saved.manifest.snapshot)}\n" in said
    assert "  later     nothing is known\n" in said
    assert "  age       " in said
    assert "200 rows in 1 table\n" in said
    assert f"  replaces  {events}" in said
    assert "in use" not in said
    with holding_open(events) as process:
        said = lines(render.restore(answers.restore(*kept, QUIET, action="plan")))
    assert f"(process {process.pid}, " in said
    assert "stop them first" in said


def test_a_plan_into_an_empty_place_replaces_nothing(kept: Kept, saved: Backup, tmp_path: Path) -> None:
    answer: Any = answers.restore(*kept, QUIET, target=str(tmp_path / "copy.db"), action="plan")
    assert "  replaces  nothing" in lines(render.restore(answer))
    answer["plan"]["hidden_processes"] = 3
    assert "3 processes of other users" in lines(render.restore(answer))


def test_a_restore_ends_with_how_to_undo_it_and_a_rollback_does_not(kept: Kept, saved: Backup, events: Path) -> None:
    said = lines(render.restore(answers.restore(*kept, QUIET, action="prepare")))
    assert "is built and proven beside" in said
    assert "nothing is replaced yet" in said
    said = lines(render.restore(answers.restore(*kept, QUIET)))
    assert f"events: {events} is restored from {saved.id}" in said
    assert "to undo: litekeep restore events --rollback" in said
    dry = lines(render.restore(answers.rollback(kept[1], QUIET, dry_run=True)))
    assert "would be replaced by the files in" in dry
    said = lines(render.restore(answers.rollback(kept[1], QUIET)))
    assert "is again what it was before the last restore" in said
    assert "--rollback" not in said


def test_notes_are_said(kept: Kept, saved: Backup) -> None:
    answer: Any = answers.restore(*kept, QUIET)
    answer["result"]["notes"] = ["owner 5:5 needs root"]
    assert "  note      owner 5:5 needs root" in lines(render.restore(answer))


def test_a_copy_elsewhere_needs_no_way_back(kept: Kept, saved: Backup, tmp_path: Path) -> None:
    answer: Any = answers.restore(*kept, QUIET, target=str(tmp_path / "copy.db"))
    answer["result"]["notes"] = []
    said = lines(render.restore(answer))
    assert saved.manifest is not None
    assert said.splitlines() == [
        f"events: {tmp_path / 'copy.db'} is restored from {saved.id}",
        f"  recovered the state of {to_text(saved.manifest.snapshot)}",
        "  later     nothing is known",
    ]


def test_rows_that_could_not_be_counted_do_not_stop_a_word() -> None:
    assert render._rows({"a": None, "b": 1234567}) == "1,234,567 rows in 2 tables"
    assert render._rows({}) == "0 rows in 0 tables"


def test_a_list_says_which_moments_can_be_had_and_which_cannot(kept: Kept) -> None:
    with archiving(kept) as first:
        first.commit(1)
        first.backup(1.5)
    with archiving(kept, shift=100) as second:
        second.commit(1)
        second.backup(1.5)
    said = lines(render.catalogue(answers.listing(kept[0], "events")))
    assert f"timeline {first.folder.name}" in said
    assert "began: archiving began" in said
    assert f"  any moment  {to_text(second.at(1))}  to  {to_text(second.at(1))}" in said
    assert f"  gap         {to_text(first.at(1))}  to  {to_text(second.at(1))}  reason 2" in said
    (second.folder / "timeline.jsonl").write_bytes(b"garbage")
    said = lines(render.catalogue(answers.listing(kept[0], "events")))
    assert "damaged" in said


def test_status_says_whether_the_archive_runs_and_until_when_it_proves(kept: Kept) -> None:
    on = kept[0], Database("events", kept[1].path, archive=True)
    said = lines(render.status(answers.status(*on)))
    assert "  archive   NOT RUNNING, any moment until (none yet), gaps: 0" in said
    with archiving(on) as scene:
        scene.commit(1)
        scene.backup(1.5)
        said = lines(render.status(answers.status(*on)))
    assert f"  archive   running, any moment until {to_text(scene.at(1))}, gaps: 0" in said


def test_a_moment_is_told_with_what_was_asked_for_and_what_comes_after_it(kept: Kept, tmp_path: Path) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        base = scene.backup(1.5)
        scene.commit(2)
        scene.commit(5)
    how: Any = {"to": to_text(scene.at(3)), "target": str(tmp_path / "copy.db")}
    for action in ("plan", "restore"):
        said = lines(render.restore(answers.restore(*kept, QUIET, action=action, **how)))
        assert f"  requested {to_text(scene.at(3))}" in said
        assert f"  recovered the state of {to_text(scene.at(3))}" in said
        assert f"its last commit was observed by {to_text(scene.at(2))}" in said
        assert f"the next state was observed by {to_text(scene.at(5))}" in said
        assert f"  made of   backup {base.id} and 1 segments of the archive" in said


def test_a_discarded_restore_says_what_is_gone_and_what_stands(kept: Kept, saved: Backup, events: Path) -> None:
    assert lines(render.restore(answers.discard(kept[1]))) == (
        f"events: no prepared restore waits there; {events} is as it was"
    )
    answers.restore(*kept, QUIET, action="prepare")
    done = answers.discard(kept[1], dry_run=True)
    said = lines(render.restore(done))
    assert str(done["plan"]["from"]) in said  # type: ignore[index]
    assert said.endswith(f"{events} is as it was")


def test_a_verification_says_which_timelines_were_read_and_what_is_damaged(kept: Kept) -> None:
    with archiving(kept) as scene:
        scene.commit(1)
        scene.backup(1.5)
        scene.commit(2)
    said = lines(render.verify(answers.verify(*kept, QUIET)))
    assert f"events: timeline {scene.folder.name} 1 segments read (" in said
    flip(sorted(scene.folder.glob("*.wal.zst"))[-1], 40)
    said = lines(render.verify(answers.verify(*kept, QUIET)))
    assert f"events: timeline {scene.folder.name} DAMAGED: " in said
