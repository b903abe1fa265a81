from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support import content, flip
from unit.archives import Scene, archiving
from unit.crashes import leave_wal

from litekeep import answers, backup, restore, status
from litekeep.answers import Values
from litekeep.config import Database
from litekeep.errors import NoRestorePointError, VerificationError
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository
from litekeep.timefmt import to_text

Kept = tuple[Repository, Database]
QUIET = Progress()


@pytest.fixture
def valid(answer_schema: jsonschema.Draft202012Validator) -> Callable[[str, Values], Any]:
    """Check one database's part of an answer against the published schema, and give it back."""

    def check(command: str, part: Values, exit_code: int = 0) -> Any:
        answer_schema.validate(
            {
                "format": {"name": "litekeep-answer", "version": 1},
                "command": command,
                "exit_code": exit_code,
                "error": None,
                "databases": [part],
            }
        )
        return part

    return check


Valid = Callable[[str, Values], Any]


def test_a_backup_that_was_taken_is_answered_with_all_that_is_known(kept: Kept, valid: Valid, events: Path) -> None:
    found = valid("backup", answers.backup(*kept, QUIET))
    taken = kept[0].catalogue("events").newest
    assert taken is not None
    assert taken.manifest is not None
    assert (found["database"], found["changed"]) == ("events", True)
    assert found["backup"] == {
        "id": taken.id,
        "state": "verified",
        "problem": "",
        "path": taken.folder,
        "type": "full",
        "snapshot": to_text(taken.manifest.snapshot),
        "size": events.stat().st_size,
        "stored_size": taken.manifest.stored_size,
        "rows": {"events": 200},
        "warnings": [],
        "last_verified": to_text(taken.manifest.snapshot),
    }
    assert 0 < found["seconds"] < 60
    assert set(found["checks"]) == {"integrity", "foreign_keys", "read_back"}


def test_a_backup_that_is_not_needed_changes_nothing_and_shows_the_one_there_is(
    kept: Kept, valid: Valid, saved: Backup
) -> None:
    found = valid("backup", answers.backup(*kept, QUIET, max_age=3600))
    assert (found["changed"], found["backup"]["id"], found["seconds"]) == (False, saved.id, 0.0)
    assert kept[0].catalogue("events").backups == (saved,)


@pytest.mark.parametrize("limit", [None, 3600])
def test_a_dry_run_tells_the_truth_and_takes_nothing(kept: Kept, limit: int | None) -> None:
    found = answers.backup(*kept, QUIET, max_age=limit, dry_run=True)
    assert (found["changed"], found["backup"], found["checks"], found["seconds"]) == (True, None, {}, 0.0)
    assert kept[0].catalogue("events").backups == ()
    backup.take(*kept, QUIET)
    assert answers.backup(*kept, QUIET, max_age=limit, dry_run=True)["changed"] is (limit is None)


def test_the_catalogue_of_nothing_and_of_everything(kept: Kept, valid: Valid, events: Path) -> None:
    assert valid("list", answers.listing(kept[0], "events")) == {
        "database": "events",
        "newest": None,
        "restore_points": 0,
        "backups": [],
        "timelines": [],
        "windows": [],
        "gaps": [],
    }
    made = [backup.take(*kept, QUIET) for _n in range(4)]
    kept[0].record_verification("events", made[1].id, "flipped")
    Path(made[2].folder, "manifest.json").write_text("{")
    newer = Path(made[3].folder, "manifest.json")
    newer.write_text(newer.read_text().replace('"version": 1', '"version": 2'))
    flip(events, 4096 * 3, 300)
    with pytest.raises(VerificationError):
        backup.take(*kept, QUIET)
    found = valid("list", answers.listing(kept[0], "events"))
    assert (found["newest"], found["restore_points"]) == (made[0].id, 1)
    assert sorted(item["state"] for item in found["backups"]) == [
        "bad source",
        "damaged",
        "newer format",
        "unreadable",
        "verified",
    ]
    assert {item["id"] for item in found["backups"] if item["size"] is None} == {made[2].id, made[3].id}


def test_the_status_of_a_protected_and_of_an_unprotected_database(
    kept: Kept, valid: Valid, clock: Callable[..., None]
) -> None:
    found = valid("status", answers.status(*kept))
    assert (found["healthy"], found["newest"], found["age"], found["exit_code"]) == (False, None, None, 4)
    taken = backup.take(*kept, QUIET)
    found = valid("status", answers.status(*kept))
    assert (found["healthy"], found["findings"], found["exit_code"]) == (True, [], 0)
    assert (found["newest"]["id"], found["restore_points"], found["backups"]) == (taken.id, 1, 1)
    assert found["stored_size"] == found["newest"]["stored_size"]
    clock(10**6, status)
    found = valid("status", answers.status(*kept))
    assert (found["healthy"], len(found["findings"]), found["exit_code"]) == (False, 1, 3)


def test_a_verification_passes_while_what_it_read_is_right(kept: Kept, valid: Valid, saved: Backup) -> None:
    found = valid("verify", answers.verify(*kept, QUIET))
    assert (found["passed"], found["newest"]) == (True, saved.id)
    flip(Path(saved.folder, "database.db.zst"), 40)
    found = valid("verify", answers.verify(*kept, QUIET))
    assert (found["passed"], found["newest"]) == (False, None)
    assert found["results"][0]["state"] == "damaged"


def test_all_are_verified_and_an_old_bad_source_is_no_news(
    kept: Kept, valid: Valid, saved: Backup, events: Path
) -> None:
    flip(events, 4096 * 3, 300)
    with pytest.raises(VerificationError):
        backup.take(*kept, QUIET)
    bad = kept[0].catalogue("events").backups[-1]
    found = valid("verify", answers.verify(*kept, QUIET, everything=True))
    assert (found["passed"], len(found["results"]), found["newest"]) == (True, 2, saved.id)
    assert valid("verify", answers.verify(*kept, QUIET, backup_id=bad.id))["passed"] is False
    flip(Path(bad.folder, "database.db.zst"), 40)
    assert answers.verify(*kept, QUIET, everything=True)["passed"] is False


def test_intact_copies_of_bad_sources_alone_do_not_pass(kept: Kept, events: Path) -> None:
    flip(events, 4096 * 3, 300)
    with pytest.raises(VerificationError):
        backup.take(*kept, QUIET)
    assert answers.verify(*kept, QUIET, everything=True)["passed"] is False


def test_a_live_verification_is_answered_with_its_checks(kept: Kept, valid: Valid, events: Path) -> None:
    found = valid("verify", answers.verify_live(kept[1]))
    assert (found["passed"], found["rows"]) == (True, {"events": 200})
    flip(events, 4096 * 3, 300)
    found = valid("verify", answers.verify_live(kept[1]))
    assert found["passed"] is False
    assert found["integrity"]["messages"]


def test_a_plan_names_what_it_would_replace_and_does_nothing(
    kept: Kept, valid: Valid, saved: Backup, events: Path
) -> None:
    leave_wal(events)
    before = content(events)
    found = valid("restore", answers.restore(*kept, QUIET, action="plan"))
    assert (found["result"], found["changed"]) == (None, True)
    assert found["plan"]["replaces"] == [f"{events}{suffix}" for suffix in ("", "-wal", "-shm")]
    assert found["plan"]["backup"]["id"] == saved.id
    assert 0 <= found["plan"]["age"] < 60
    assert saved.manifest is not None
    assert found["plan"]["point"] == {
        "id": saved.id,
        "requested": None,
        "recovered": to_text(saved.manifest.snapshot),
        "next": None,
        "last_commit_observed": None,
        "timeline": None,
        "segments": 0,
        "base": saved.id,
    }
    assert content(events) == before


def test_preparing_a_second_time_changes_nothing(kept: Kept, valid: Valid, saved: Backup) -> None:
    first = valid("restore", answers.restore(*kept, QUIET, action="prepare"))
    assert (first["changed"], first["result"]["swapped"], first["result"]["quarantine"]) == (True, False, None)
    again = valid("restore", answers.restore(*kept, QUIET, action="prepare"))
    assert (again["changed"], again["plan"]["prepared"]) == (False, True)


def test_a_restore_and_its_rollback_are_answered_with_where_the_old_files_are(
    kept: Kept, valid: Valid, saved: Backup, events: Path, tmp_path: Path
) -> None:
    leave_wal(events)
    before = content(events)
    done = valid("restore", answers.restore(*kept, QUIET))
    assert (done["action"], done["result"]["swapped"], done["result"]["backup"]) == ("restore", True, saved.id)
    assert done["result"]["point"] == done["plan"]["point"]
    quarantine = done["result"]["quarantine"]
    dry = valid("restore", answers.rollback(kept[1], QUIET, dry_run=True))
    assert (dry["plan"]["from"], dry["result"]) == (quarantine, None)
    assert content(events) != before
    back = valid("restore", answers.rollback(kept[1], QUIET))
    assert (back["action"], back["result"]["backup"]) == ("rollback", Path(quarantine).name)
    assert content(events) == before
    copy = valid("restore", answers.restore(*kept, QUIET, target=str(tmp_path / "copy.db")))
    assert copy["result"]["quarantine"] is None


def test_a_prepared_restore_can_be_discarded_and_a_dry_run_only_says_so(
    kept: Kept, valid: Valid, saved: Backup, events: Path
) -> None:
    nothing = valid("restore", answers.discard(kept[1]))
    assert (nothing["action"], nothing["changed"], nothing["result"]) == ("discard", False, None)
    assert nothing["plan"] == {"target": str(events), "from": None}
    answers.restore(*kept, QUIET, action="prepare")
    before = content(events)
    dry = valid("restore", answers.discard(kept[1], dry_run=True))
    assert dry["changed"] is True
    assert Path(dry["plan"]["from"]).is_dir()
    done = valid("restore", answers.discard(kept[1]))
    assert (done["changed"], done["plan"]) == (True, dry["plan"])
    assert not Path(dry["plan"]["from"]).exists()
    assert content(events) == before
    assert valid("restore", answers.discard(kept[1]))["changed"] is False


def test_a_dry_rollback_needs_something_to_roll_back_to(kept: Kept) -> None:
    with pytest.raises(NoRestorePointError):
        answers.rollback(kept[1], QUIET, dry_run=True)


def test_a_note_of_an_interrupted_restore_reaches_the_answer(
    kept: Kept, valid: Valid, saved: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "recover", lambda _space: "an interrupted restore of x was undone")
    found = valid("restore", answers.restore(*kept, QUIET))
    assert "an interrupted restore of x was undone" in found["result"]["notes"]


# -- the archive


def test_a_list_shows_timelines_windows_and_gaps(kept: Kept, valid: Valid) -> None:
    with archiving(kept) as first:
        first.commit(1, count=3)
        base = first.backup(1.5)
        first.heartbeat(10)
    with archiving(kept, shift=100) as second:
        second.commit(1)
        empty = valid("list", answers.listing(kept[0], "events"))["timelines"][1]
        assert (empty["base"], empty["from"], empty["to"], empty["state"]) == (None, None, None, "running")
        second.backup(1.5)
        second.heartbeat(10)
        found = valid("list", answers.listing(kept[0], "events"))
    assert found["timelines"][0] == {
        "id": first.folder.name,
        "number": 1,
        "state": "ended",
        "problem": "",
        "started": to_text(first.start),
        "reason": "archiving began",
        "base": base.id,
        "from": to_text(first.at(1)),
        "to": to_text(first.at(10)),
        "segments": 1,
        "commits": 3,
        "stored_size": sum(path.stat().st_size for path in first.folder.glob("*.wal.zst")),
    }
    assert found["windows"] == [
        {"from": to_text(scene.at(1)), "to": to_text(scene.at(10)), "timeline": scene.folder.name}
        for scene in (first, second)
    ]
    assert found["gaps"] == [{"from": to_text(first.at(10)), "to": to_text(second.at(1)), "reason": "reason 2"}]
    (first.folder / "timeline.jsonl").write_bytes(b"garbage")
    (second.folder / "heartbeat.json").write_bytes(b"garbage")
    found = valid("list", answers.listing(kept[0], "events"))
    assert [timeline["state"] for timeline in found["timelines"]] == ["damaged", "damaged"]


def test_a_plan_and_a_restore_say_which_moment_it_is(kept: Kept, valid: Valid, scene: Scene, tmp_path: Path) -> None:
    scene.commit(1)
    base = scene.backup(1.5)
    end = scene.commit(2)
    scene.commit(5)
    scene.heartbeat(10)
    moment = to_text(scene.at(3))
    how: Any = {"to": moment, "target": str(tmp_path / "copy.db")}
    point = {
        "id": f"{scene.folder.name}@{end.round}.{end.frame}",
        "requested": moment,
        "recovered": moment,
        "next": to_text(scene.at(5)),
        "last_commit_observed": to_text(scene.at(2)),
        "timeline": scene.folder.name,
        "segments": 1,
        "base": base.id,
    }
    plan = valid("restore", answers.restore(*kept, QUIET, action="plan", **how))
    assert plan["plan"]["point"] == point
    done = valid("restore", answers.restore(*kept, QUIET, **how))
    assert done["result"]["point"] == point
    assert done["result"]["backup"] == point["id"]
    near = valid("restore", answers.restore(*kept, QUIET, to=to_text(scene.at(3600)), action="plan", nearest=True))
    assert near["plan"]["point"]["recovered"] == to_text(scene.at(10))
    same = answers.restore(*kept, QUIET, to=moment, action="plan", timeline=scene.folder.name)
    assert same["plan"]["point"] == point  # type: ignore[index]


def test_the_status_of_an_archive_in_every_state(kept: Kept, valid: Valid) -> None:
    assert valid("status", answers.status(*kept))["archive"] is None
    on = kept[0], Database("events", kept[1].path, archive=True)
    off = {"running": False, "timeline": None, "proven_until": None, "gaps": 0}
    found = valid("status", answers.status(*on))["archive"]
    assert {key: found[key] for key in off} == off
    assert "does not run" in found["problem"]
    with archiving(on) as scene:
        scene.commit(1)
        scene.backup()
        scene.heartbeat(2)
        found = valid("status", answers.status(*on))
    assert found["archive"] == {
        "running": True,
        "timeline": scene.folder.name,
        "proven_until": to_text(scene.at(2)),
        "problem": "",
        "gaps": 0,
    }
    assert found["healthy"] is True


def test_a_verification_reads_the_archive_too(kept: Kept, valid: Valid) -> None:
    with archiving(kept) as first:
        first.commit(1)
        first.backup(1.5)
    with archiving(kept, shift=100) as second:
        second.commit(1)
        second.backup(1.5)
        second.commit(2)
        second.commit(3)
    found = valid("verify", answers.verify(*kept, QUIET))
    assert [(part["timeline"], part["segments"], part["problem"]) for part in found["archive"]] == [
        (second.folder.name, 2, "")
    ]
    found = valid("verify", answers.verify(*kept, QUIET, everything=True))
    assert [(part["timeline"], part["segments"]) for part in found["archive"]] == [
        (first.folder.name, 1),
        (second.folder.name, 3),
    ]
    assert found["passed"] is True
    damaged = sorted(first.folder.glob("*.wal.zst"))[0]
    flip(damaged, 40)
    assert valid("verify", answers.verify(*kept, QUIET))["passed"] is True
    found = valid("verify", answers.verify(*kept, QUIET, everything=True))
    assert found["passed"] is False
    assert str(damaged) in found["archive"][0]["problem"]
    sorted(second.folder.glob("*.wal.zst"))[-1].unlink()
    found = valid("verify", answers.verify(*kept, QUIET))
    assert found["passed"] is False
    assert "is missing" in found["archive"][0]["problem"]
