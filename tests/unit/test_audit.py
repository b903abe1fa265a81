from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support import flip
from unit.archives import Scene

from litekeep import audit, auditfacts, backup, drill, pins, prune, verify
from litekeep.auditfacts import Facts, gather
from litekeep.config import Database, Remote
from litekeep.controls import SEVERITIES
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository
from litekeep.retentionpolicy import Policy
from litekeep.timefmt import now, to_text

Kept = tuple[Repository, Database]
DAY = 86_400


def facts_of(kept: Kept, *remotes: Remote, here: bool = True, **policy: object) -> Facts:
    database = replace(kept[1], **policy)  # type: ignore[arg-type]
    return gather(kept[0], database, remotes, here)


def told(facts: Facts) -> dict[str, list[tuple[str, str]]]:
    """Severity and evidence by control."""
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in audit.audit(facts):
        found.setdefault(finding.control.name, []).append((finding.severity, finding.evidence))
    return found


def drilled(backup_id: str, age: float = 0, **values: object) -> dict[str, object]:
    return {
        "time": to_text(now() - dt.timedelta(seconds=age)),
        "point": backup_id,
        "backup": backup_id,
        "archive": False,
        "result": "passed",
        "problems": [],
        "seconds": 5.0,
        **values,
    }


@pytest.fixture
def good(kept: Kept, saved: Backup) -> Facts:
    """All is well, but for what the library of this machine is."""
    policy = Policy(keep_daily=7)
    remote = Remote("vault", "/nowhere", "vault:", incoming=".incoming")
    facts = facts_of(kept, retention=policy)
    return replace(facts, drills=(drilled(saved.id),), remotes=(remote,), encrypted={"vault": True}, sqlite=(3, 51, 3))


def test_what_is_well_protected_has_no_findings_and_all_controls_say_ok(good: Facts) -> None:
    assert told(good) == {}
    outcomes = audit.outcomes(good, [])
    assert set(outcomes.values()) == {"ok"}
    assert list(outcomes) == ["LK03", "LK04", "LK05", "LK07", "LK08", "LK09", "LK10", "LK11", "LK12", "LK15"]


def test_the_outcome_of_a_control_is_its_worst_finding(kept: Kept) -> None:
    facts = facts_of(kept)
    findings = audit.audit(facts)
    order = [SEVERITIES.index(finding.severity) for finding in findings]
    assert order == sorted(order)
    assert audit.outcomes(facts, findings)["LK03"] == "critical"


def test_without_a_policy_remote_and_drill_there_are_findings(kept: Kept, saved: Backup) -> None:
    found = told(facts_of(kept))
    assert found["retention"] == [("notice", "it has no retention: every backup stays for ever")]
    assert found["off-host"] == [("warning", "it has no remote: what destroys this host destroys its backups")]
    assert found["drills"] == [("notice", "no restore was ever tried with success")]


def test_pins_that_cannot_be_read_are_critical(kept: Kept, saved: Backup, good: Facts) -> None:
    pins.pin(kept[0].folder("events"), saved.id, "")
    Path(kept[0].folder("events"), pins.NAME).write_bytes(b"{}\n")
    assert told(facts_of(kept))["retention"][0][0] == "critical"


def test_what_should_have_gone_long_ago_is_told_and_what_should_go_today_is_not(
    kept: Kept, clock: Callable[..., None], good: Facts
) -> None:
    for _n in range(3):
        backup.take(*kept, Progress())
    policy = Policy(keep_last=1, min_verified=1)
    assert facts_of(kept, retention=policy).overdue == ()
    clock(3 * DAY, auditfacts)
    late = facts_of(kept, retention=policy)
    assert len(late.overdue) == 3
    assert told(replace(good, overdue=late.overdue))["retention"][0][1].startswith("3 items should have gone")
    prune.prune(*kept, policy, Progress())
    assert facts_of(kept, retention=policy).overdue == ()


def test_fewer_than_min_verified_are_told_once_there_was_time_for_more(good: Facts) -> None:
    few = replace(good, database=replace(good.database, retention=Policy(keep_daily=7, min_verified=3)))
    assert told(few) == {}
    later = replace(few, at=few.at + dt.timedelta(days=5))
    assert ("warning", "1 verified backups stand, and never fewer than 3 shall") in told(later)["retention"]


def test_a_failed_drill_is_critical_until_that_backup_passes_or_goes(good: Facts, saved: Backup) -> None:
    failed = drilled(saved.id, result="failed", problems=["table events has 1 rows instead of 200"])
    found = told(replace(good, drills=(*good.drills, failed)))
    assert found == {
        "drills": [("critical", f"the drill of {saved.id} failed: table events has 1 rows instead of 200")]
    }
    assert told(replace(good, drills=(failed, *good.drills))) == {}
    assert told(replace(good, drills=(*good.drills, {**failed, "backup": "gone", "point": "gone"}))) == {}


def test_a_failed_drill_of_the_archive_counts_until_the_archive_passes(good: Facts) -> None:
    failed = drilled("x", archive=True, result="failed", problems=["a"])
    assert told(replace(good, drills=(*good.drills, failed)))["drills"][0][0] == "critical"
    assert told(replace(good, drills=(*good.drills, failed, drilled("y", archive=True)))) == {}


def test_drills_that_are_too_old_or_too_slow_are_told(good: Facts, saved: Backup) -> None:
    month = replace(good, at=good.at + dt.timedelta(days=31), status=replace(good.status, findings=()))
    assert "1 of 1 backups were not drilled within" in told(month)["drills"][0][1]
    slow = replace(good, database=replace(good.database, rto=4))
    assert told(slow) == {"drills": [("warning", "the last drill took 5.0 s, the objective is 4.0 s")]}
    never = replace(month, drills=())
    assert told(never)["drills"] == [("warning", "no restore was ever tried with success")]


def test_a_damaged_backup_makes_drill_and_audit_say_so(kept: Kept) -> None:
    for _n in range(2):
        backup.take(*kept, Progress())
    first, second = kept[0].catalogue("events").backups
    flip(Path(first.folder, "database.db.zst"), 1000, 1)
    drill.drill(*kept, first.id, Progress())
    found = told(facts_of(kept))
    assert [severity for severity, _text in found["verification"]] == ["warning"]
    assert ("warning", f"the drill of {first.id} failed") in [(s, text.split(":")[0]) for s, text in found["drills"]]
    flip(Path(second.folder, "database.db.zst"), 1000, 1)
    verify.verify_backups(kept[0], "events", [second], Progress())
    assert told(facts_of(kept))["freshness"] == [("critical", "there is no restore point")]


def test_too_little_room_for_the_next_backup_is_critical(good: Facts) -> None:
    assert told(replace(good, free=good.size // 2))["space"][0][0] == "critical"


def test_a_library_that_damages_databases_is_told_where_there_is_a_wal(good: Facts) -> None:
    assert told(replace(good, sqlite=(3, 51, 2)))["sqlite"][0][0] == "notice"
    assert told(replace(good, sqlite=(3, 51, 2), wal=False)) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[vault]\ntype = crypt\nremote = x:\npassword = secret\n", True),
        ("[vault]\ntype = sftp\nkey_file = /x\n", False),
        ("[other]\ntype = crypt\n", None),
        ("no configuration", None),
    ],
)
def test_whether_copies_are_encrypted_is_read_from_the_remote(
    kept: Kept, tmp_path: Path, text: str, expected: bool | None
) -> None:
    path = tmp_path / "rclone.conf"
    path.write_text(text)
    facts = facts_of(kept, Remote("vault", str(path), "vault:folder"))
    assert facts.encrypted == {"vault": expected}
    severities = {severity for severity, _text in told(facts).get("encryption", [])}
    assert severities == (set() if expected else {"notice"})
    assert "secret" not in str(told(facts))


def test_a_remote_that_seals_nothing_is_a_notice(good: Facts) -> None:
    assert told(replace(good, remotes=(replace(good.remotes[0], incoming=""),)))["sealed"][0][0] == "notice"


def test_elsewhere_there_is_no_source_and_files_that_others_may_write_are_critical(kept: Kept, saved: Backup) -> None:
    Path(kept[1].path).unlink()
    facts = facts_of(kept, here=False)
    assert set(audit.outcomes(facts, audit.audit(facts))) == {"LK03", "LK04", "LK05", "LK08", "LK10", "LK11"}
    assert "sealed" not in told(facts)
    os.chmod(Path(saved.folder, "database.db.zst"), 0o666)
    assert told(facts_of(kept, here=False))["sealed"][0][0] == "critical"


def test_elsewhere_nobody_looks_for_an_archiver(kept: Kept, saved: Backup) -> None:
    assert [text for _severity, text in told(facts_of(kept, archive=True))["archive"]] == ["the archive does not run"]
    found = facts_of(kept, archive=True, here=False)
    assert (found.status.archive, "archive" in told(found)) == (None, False)


def test_elsewhere_the_stored_archive_is_looked_at(kept: Kept, scene: Scene) -> None:
    scene.commit(1)
    scene.heartbeat(2)
    found = told(facts_of(kept, here=False))
    assert "has no base backup yet" in found["archive"][0][1]
    scene.backup()
    scene.heartbeat(2)
    assert "archive" not in told(facts_of(kept, here=False))
