from __future__ import annotations

import datetime as dt
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support import flip, make_database, protect

from litekeep import backup, drill, drillanswers, drillrender
from litekeep.config import Database
from litekeep.manifest import checksum
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository

Kept = tuple[Repository, Database]
DAY = 86_400


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    repository, database = protect(tmp_path, make_database(tmp_path / "data" / "events.db", rows=500))
    for _n in range(3):
        backup.take(repository, database, Progress())
    return repository, database


def backups(repository: Repository) -> tuple[Backup, ...]:
    return repository.catalogue("events").backups


def found(kept: Kept, to: str = "latest", **policy: object) -> drill.Drilled:
    return drill.drill(kept[0], replace(kept[1], **policy), to, Progress())  # type: ignore[arg-type]


def test_a_drill_restores_checks_and_writes_down(kept: Kept) -> None:
    before = Path(kept[1].path).read_bytes()
    done = found(kept, rto=3600, assertions=("SELECT count(*) = 500 FROM events",))
    assert (done.passed, done.in_time, done.archive) == (True, True, False)
    assert (done.point, done.rows["events"]) == (backups(kept[0])[-1].id, 500)
    assert done.seconds >= done.restore_seconds > 0
    assert drill.history(kept[0], "events") == [json.loads(json.dumps(done.to_json()))]
    assert Path(kept[1].path).read_bytes() == before
    folder = kept[0].folder("events")
    assert not [name for name in os.listdir(folder) if "scratch" in name]
    assert kept[0].restores("events") == []


def test_a_backup_whose_bytes_are_at_fault_fails_and_no_longer_counts(kept: Kept) -> None:
    damaged = backups(kept[0])[0]
    flip(Path(damaged.folder, "database.db.zst"), 1000, 1)
    done = found(kept, damaged.id)
    assert not done.passed
    assert "database.db.zst" in done.problems[0]
    assert [each.state for each in backups(kept[0])] == ["damaged", "verified", "verified"]
    assert drill.history(kept[0], "events")[0]["result"] == "failed"


def test_rows_that_are_not_those_of_the_manifest_are_a_problem(kept: Kept) -> None:
    path = Path(backups(kept[0])[1].folder, "manifest.json")
    values = json.loads(path.read_text())
    values["rows"]["events"] = 501
    values.pop("checksum")
    path.write_text(json.dumps({**values, "checksum": checksum(values)}))
    done = found(kept, backups(kept[0])[1].id)
    assert done.problems == ("table events has 500 rows instead of 501",)


def test_assertions_that_do_not_hold_are_problems(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill, "_ASSERTION_SECONDS", 0.2)
    forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    wrong = ("SELECT count(*) > 500 FROM events", "SELECT 1 WHERE 0", "SELECT NULL", "SELECT * FROM nowhere", forever)
    done = found(kept, assertions=("SELECT 1", *wrong, "DELETE FROM events"))
    problems = [answer["problem"] for answer in done.assertions]
    assert problems[:4] == ["", "answered 0", "answered None", "answered None"]
    assert [str(problem) for problem in problems[4:6]] == ["no such table: nowhere", "no answer within 0 s"]
    assert "readonly" in str(problems[6])
    assert len(done.problems) == 6


def test_one_that_takes_too_long_is_told(kept: Kept) -> None:
    done = found(kept, rto=0)
    assert (done.passed, done.in_time) == (True, False)
    answer = drillanswers.drilled(kept[0], replace(kept[1], rto=0), Progress(), "latest")
    assert answer["passed"] is False
    assert any("too slow" in line for line in drillrender.drilled(answer))


def test_every_kept_backup_is_drilled_within_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One backup a day, of which ten stay; a run a day; none waits longer than it may, and no run does much."""
    every = 4 * DAY
    repository = Repository(str(tmp_path / "repository"), "host")
    start = dt.datetime(2026, 11, 1, tzinfo=dt.timezone.utc)
    taken: dict[str, dt.datetime] = {}
    last: dict[str, dt.datetime] = {}

    def restore_points() -> list[Backup]:
        return [Backup(name, "", "verified", "", FakeManifest(when), when) for name, when in taken.items()]  # type: ignore[arg-type]

    monkeypatch.setattr(repository, "catalogue", lambda _name: FakeCatalogue(tuple(restore_points())))
    monkeypatch.setattr(
        drill,
        "history",
        lambda _r, _d: [{"backup": name, "time": when.isoformat(), "result": "passed"} for name, when in last.items()],
    )
    for day in range(40):
        moment = start + dt.timedelta(days=day)
        taken[f"b{day:02}"] = moment
        if len(taken) > 10:
            taken.pop(next(iter(taken)))
        chosen = drill.due(repository, "events", every, moment)
        assert len(chosen) <= 4
        for each in chosen:
            last[each.id] = moment
        for name, when in taken.items():
            assert (moment - last.get(name, when)).total_seconds() <= every


class FakeManifest:
    def __init__(self, snapshot: dt.datetime) -> None:
        self.snapshot = snapshot
        self.sequence = 1


class FakeCatalogue:
    def __init__(self, points: tuple[Backup, ...]) -> None:
        self.restore_points = points


def test_a_run_does_the_newest_and_what_is_due_and_goes_on_after_trouble(kept: Kept) -> None:
    names = [each.id for each in backups(kept[0])]
    answer = drillanswers.drilled(*kept, Progress(), dry_run=True)
    assert (answer["states"], answer["drills"]) == (["latest", names[0]], [])
    assert any("would be drilled" in line for line in drillrender.drilled(answer))
    answer = drillanswers.drilled(*kept, Progress())
    assert [each["point"] for each in answer["drills"]] == [names[2], names[0]]
    assert (answer["passed"], answer["error"]) == (True, None)
    assert [each["point"] for each in drillanswers.drilled(*kept, Progress())["drills"]] == [names[2], names[1]]
    assert len(drillanswers.drilled(*kept, Progress(), "all")["drills"]) == 3
    assert drillanswers.drilled(*kept, Progress(), "random")["drills"][0]["point"] in names
    for each in backups(kept[0]):
        Path(each.folder, "manifest.json").write_text("{")
    broken = drillanswers.drilled(*kept, Progress())
    assert broken["passed"] is False
    assert broken["exit_code"] == broken["error"]["exit_code"] == 4
    assert any("FAILED" in line for line in drillrender.drilled(broken))


def test_what_a_damaged_one_says_names_the_next_step(kept: Kept) -> None:
    flip(Path(backups(kept[0])[0].folder, "database.db.zst"), 1000, 1)
    answer = drillanswers.drilled(*kept, Progress(), "all")
    lines = list(drillrender.drilled(answer))
    assert answer["passed"] is False
    assert any("FAILED" in line for line in lines)
    assert any("litekeep verify events --all" in line for line in lines)
