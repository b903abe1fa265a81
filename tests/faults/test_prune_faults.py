"""Retention that is killed, beside others, or before damage: whatever happens, what is kept can be restored."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from archiving import ENVIRONMENT, Archive, archived, moment
from support import Steps, holding_open, litekeep, make_database, protect

from litekeep import backup, drill, drillanswers, pins, planner, prune, restore, verify
from litekeep.config import Database
from litekeep.errors import BusyError, LitekeepError, NoRestorePointError, UsageError, VerificationError
from litekeep.planner import Choice
from litekeep.progress import Progress
from litekeep.repository import Repository
from litekeep.retention import Hold
from litekeep.retentionpolicy import Policy
from litekeep.timefmt import now

LAST = Policy(keep_last=2, min_verified=1, archive_window=0)
Kept = tuple[Repository, Database]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """Six backups of one database."""
    path = make_database(tmp_path / "data" / "events.db")
    repository, database = protect(tmp_path, path, deadline=1)
    for _n in range(6):
        backup.take(repository, database, Progress())
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("INSERT INTO events(kind) VALUES('more')")
    return repository, database


def ids(repository: Repository) -> list[str]:
    return [found.id for found in repository.catalogue("events").backups]


def all_restore(repository: Repository, database: Database, folder: Path) -> None:
    for found in repository.catalogue("events").backups:
        target = folder / f"{found.id}.db"
        restore.restore(repository, database, restore.plan(repository, database, found.id, str(target)), Progress())
        target.unlink()


def test_what_the_rules_do_not_keep_goes_and_the_rest_restores(kept: Kept, tmp_path: Path) -> None:
    before = ids(kept[0])
    planned = prune.plan(kept[0], "events", LAST)
    assert ids(kept[0]) == before
    done = prune.prune(*kept, LAST, Progress(), planned.hash)
    assert done.hash == planned.hash
    assert [decision.item.id for decision in done.removals] == list(reversed(before[:4]))
    assert ids(kept[0]) == before[4:]
    all_restore(*kept, tmp_path)
    again = prune.prune(*kept, LAST, Progress())
    assert again.removals == ()
    history = [json.loads(line) for line in Path(kept[0].folder("events"), "retention.jsonl").read_text().splitlines()]
    assert [line["action"] for line in history] == ["begin", "done"]
    assert {gone["id"]: gone["reasons"] for gone in history[0]["removes"]} == {
        gone: ["no rule keeps it"] for gone in before[:4]
    }


KILL = """
import os, signal, sys
from litekeep import prune
from litekeep.config import load_config
from litekeep.progress import Progress
from litekeep.repository import Repository
from litekeep.retentionpolicy import Policy

class Killed(Progress):
    count = 0
    def step(self, name):
        if name.startswith("prune"):
            self.count += 1
            if self.count == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)

config = load_config(sys.argv[1])
repository = Repository(config.repository, config.host)
prune.prune(repository, config.databases["events"], Policy(keep_last=2, min_verified=1, archive_window=0), Killed())
"""


def test_a_kill_at_any_step_leaves_whole_backups_and_the_next_run_ends_it(kept: Kept, tmp_path: Path) -> None:
    repository, database = kept
    config = tmp_path / "litekeep.json"
    config.write_text(
        json.dumps(
            {"repository": repository.root, "host": repository.host, "databases": {"events": {"path": database.path}}}
        )
    )
    saved = tmp_path / "saved"
    shutil.copytree(repository.root, saved)
    before = ids(repository)
    at = 0
    while True:
        at += 1
        shutil.rmtree(repository.root)
        shutil.copytree(saved, repository.root)
        done = subprocess.run([sys.executable, "-c", KILL, str(config), str(at)], env=ENVIRONMENT, check=False)
        left = ids(repository)
        # The newest first, so that nothing that hangs on something is left without it.
        assert left in [before[: 4 - n] + before[4:] for n in range(5)]
        all_restore(repository, database, tmp_path)
        prune.prune(repository, database, LAST, Progress())
        assert ids(repository) == before[4:]
        assert sorted(os.listdir(Path(repository.folder("events"), "backups"))) == sorted(before[4:])
        if done.returncode == 0:
            break
        assert done.returncode == -9
    assert at == 9  # planned, written down, four renames, removed, done


def test_another_plan_than_the_one_agreed_to_is_refused(kept: Kept) -> None:
    planned = prune.plan(kept[0], "events", LAST)
    pins.pin(kept[0].folder("events"), ids(kept[0])[0], "")
    before = ids(kept[0])
    with pytest.raises(UsageError, match="another one now"):
        prune.prune(*kept, LAST, Progress(), planned.hash)
    assert ids(kept[0]) == before


def test_pinned_and_held_backups_stay(kept: Kept) -> None:
    before = ids(kept[0])
    held = kept[0].catalogue("events").backups[2].manifest
    assert held is not None
    pins.pin(kept[0].folder("events"), before[0], "")
    pins.hold(kept[0].folder("events"), Hold("case", held.snapshot, held.snapshot), "")
    prune.prune(*kept, LAST, Progress())
    assert ids(kept[0]) == [before[0], before[1], before[2], before[4], before[5]]


def test_nothing_goes_while_pins_cannot_be_read(kept: Kept) -> None:
    before = ids(kept[0])
    pins.pin(kept[0].folder("events"), before[0], "")
    Path(kept[0].folder("events"), "pins.jsonl").write_text("{}\n")
    with pytest.raises(VerificationError, match="is damaged"):
        prune.prune(*kept, LAST, Progress())
    assert ids(kept[0]) == before


def test_nothing_goes_while_a_restore_or_a_backup_is_under_way(kept: Kept) -> None:
    before = ids(kept[0])
    with kept[0].lease("events"), pytest.raises(BusyError):
        prune.prune(*kept, LAST, Progress())
    with kept[0].writing("events"), pytest.raises(BusyError):
        prune.prune(*kept, LAST, Progress())
    assert ids(kept[0]) == before


class Removing(Progress):
    """Retention that is at work, and removes the oldest backup as soon as somebody waits for it."""

    def __init__(self, repository: Repository) -> None:
        self.going = repository.catalogue("events").backups[0]
        self.waits: list[str] = []
        self._work = contextlib.ExitStack()
        self._work.enter_context(repository.removing("events"))

    def waiting(self, holder: str) -> None:
        self.waits.append(holder)
        shutil.rmtree(self.going.folder)
        self._work.close()


def test_drills_wait_for_retention_and_do_not_miss_what_it_removed(kept: Kept) -> None:
    repository, database = kept
    before, retention = ids(repository), Removing(repository)
    answer = drillanswers.drilled(repository, database, retention, drillanswers.ALL)
    assert (answer["passed"], answer["error"], len(retention.waits)) == (True, None, 1)
    assert "retention of events" in retention.waits[0]
    assert [done["backup"] for done in drill.history(repository, "events")] == [before[-1], *before[1:-1]]


def test_verification_waits_for_retention_and_calls_nothing_damaged_that_it_removed(kept: Kept) -> None:
    before, retention = ids(kept[0]), Removing(kept[0])
    results = verify.verify_backups(kept[0], "events", kept[0].catalogue("events").backups, retention)
    assert [(result.id, result.problem) for result in results] == [(each, "") for each in before[1:]]


def test_a_restore_of_what_retention_removes_meanwhile_says_so(kept: Kept, tmp_path: Path) -> None:
    target, retention = tmp_path / "one.db", Removing(kept[0])
    chosen = restore.plan(*kept, retention.going.id, str(target))
    with pytest.raises(NoRestorePointError, match="has gone since it was chosen"):
        restore.restore(*kept, chosen, retention)
    assert not target.exists()


def test_a_backup_whose_file_is_gone_or_cut_does_not_count(kept: Kept, tmp_path: Path) -> None:
    repository = kept[0]
    backups = repository.catalogue("events").backups
    Path(backups[-1].folder, "database.db.zst").unlink()
    file = Path(backups[-2].folder, "database.db.zst")
    file.write_bytes(file.read_bytes()[:-1])
    done = prune.prune(*kept, LAST, Progress())
    assert {d.item.id for d in done.decisions if d.keep} == {found.id for found in backups[2:]}
    point = planner.choose(Choice(repository.catalogue("events"), []), backups[3].id)
    assert point.backup.id == backups[3].id


def test_what_no_manifest_describes_stays(kept: Kept) -> None:
    folder = Path(kept[0].folder("events"), "backups")
    before = ids(kept[0])
    (folder / "something-else").mkdir()
    (folder / before[0] / "manifest.json").write_text("{")
    prune.prune(*kept, LAST, Progress())
    assert sorted(os.listdir(folder)) == sorted([before[0], before[4], before[5], "something-else"])


def test_a_database_without_a_repository_loses_nothing(tmp_path: Path) -> None:
    repository, database = protect(tmp_path, make_database(tmp_path / "data" / "events.db"))
    assert prune.prune(repository, database, LAST, Progress()).decisions == ()
    assert not os.path.exists(repository.root)


def test_old_timelines_go_and_every_moment_of_the_window_stays(in_memory: Path) -> None:
    path = make_database(in_memory / "events.db")
    archive = Archive(in_memory, path, roll=1)
    seen = []
    with archived(archive), contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as db:
        for number in range(5):
            known = len(archive.timelines())
            db.execute("INSERT INTO events(kind) VALUES(?)", (str(number),))
            seen.append(moment())
            litekeep("--config", archive.config, "backup", "events", check=0)
            archive.wait_for(lambda known=known: len(archive.timelines()) > known)
        db.execute("INSERT INTO events(kind) VALUES('last')")
        seen.append(moment())
        archive.wait_for(archive.hangs)
        archive.reaches(seen[-1])
        contents = {when: archive.content_at(when) for when in seen}
        window = int((now() - seen[3]).total_seconds()) + 1
        policy = Policy(keep_last=1, min_verified=1, archive_window=window)
        with_archiver = prune.prune(archive.repository, archive.database, policy, Progress())
        assert {decision.item.kind for decision in with_archiver.removals} == {"archive", "backup"}
        archive.stop()
    assert not any(timeline.problems for timeline in archive.timelines())
    assert len(archive.timelines()) < 6, with_archiver.decisions
    for when in seen[3:]:
        assert archive.proves(when)
        assert archive.content_at(when) == contents[when]
    with pytest.raises(LitekeepError):
        archive.point(seen[0])
    # The archive went on until it was stopped, and its window with it; now nothing moves any more.
    prune.prune(archive.repository, archive.database, policy, Progress())
    assert prune.prune(archive.repository, archive.database, policy, Progress()).removals == ()


def test_a_step_is_named_for_each_change(kept: Kept) -> None:
    steps = Steps()
    prune.prune(*kept, LAST, steps)
    assert list(dict.fromkeys(steps.seen)) == list(prune.STEPS)


def test_an_application_is_not_in_the_way(kept: Kept) -> None:
    with holding_open(Path(kept[1].path), "BEGIN EXCLUSIVE"):
        assert len(prune.prune(*kept, LAST, Progress()).removals) == 4
