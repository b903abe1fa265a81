"""A backup that is killed at any point leaves a valid repository; the next one removes what it left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support import Steps, content, die_before_call, in_child, make_database, protect

from litekeep import backup, verify
from litekeep.progress import Progress


def assert_repository_valid(repository: backup.Repository, expected: int) -> None:
    catalogue = repository.catalogue("events")
    assert [found.state for found in catalogue.backups] == ["verified"] * expected
    results = verify.verify_backups(repository, "events", catalogue.backups, Progress())
    assert all(result.passed for result in results)


def leftovers(repository: backup.Repository) -> list[str]:
    return [name for name in os.listdir(Path(repository.folder("events")) / "backups") if name.startswith(".")]


@pytest.mark.parametrize("own_staging", [False, True])
@pytest.mark.parametrize("step", backup.STEPS)
def test_kill_at_every_named_step(tmp_path: Path, step: str, own_staging: bool) -> None:
    path = make_database(tmp_path / "data" / "events.db")
    before = content(path)
    staging = tmp_path / "staging"
    staging.mkdir()
    repository, database = protect(tmp_path, path, staging=str(staging) if own_staging else None)
    backup.take(repository, database, Progress())
    assert in_child(lambda: backup.take(repository, database, Steps(die_at=step))) == -signal.SIGKILL
    counted = 2 if step == backup.STEPS[-1] else 1
    assert_repository_valid(repository, counted)
    assert content(path) == before
    backup.take(repository, database, Progress())
    assert_repository_valid(repository, counted + 1)
    assert leftovers(repository) == []
    assert list(staging.iterdir()) == []


def test_a_run_passes_exactly_the_named_steps(tmp_path: Path) -> None:
    repository, database = protect(tmp_path, make_database(tmp_path / "events.db"))
    steps = Steps()
    backup.take(repository, database, steps)
    assert tuple(steps.seen) == backup.STEPS


def test_kill_before_every_file_system_call(tmp_path: Path) -> None:
    path = make_database(tmp_path / "events.db", rows=20)
    killed = 0
    for number in range(1, 200):
        repository, database = protect(tmp_path / str(number), path)
        if die_before_call(number, lambda r=repository, d=database: backup.take(r, d, Progress())) == 0:
            break
        killed += 1
        assert {found.state for found in repository.catalogue("events").backups} <= {"verified"}
        backup.take(repository, database, Progress())
        assert leftovers(repository) == []
        states = [found.state for found in repository.catalogue("events").backups]
        assert states in (["verified"], ["verified", "verified"])
    assert 15 < killed < 150
