# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What goes off the host and comes back, as both front ends call it. See ``answers``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence

from . import answers
from .answers import Values
from .config import Config, Database, Remote
from .errors import LitekeepError, UsageError
from .exportfolder import filled
from .progress import Progress
from .pull import Choice, Mirror, planned
from .push import Archive, Backups
from .remote import Store
from .repository import Repository
from .restore import Plan
from .scratch import scratch
from .seal import Sealed

ANY = "any"


def remotes_of(config: Config, database: Database, name: str | None = None) -> list[Remote]:
    """The remotes of a database, in the order of its policy; or the one of that name. Raises UsageError."""
    known = known_remotes(config, database)
    chosen = known if name in (None, ANY) else [remote for remote in config.remotes.values() if remote.name == name]
    if chosen:
        return chosen
    raise UsageError(
        f"{database.name} has no remote {name!r}" if known else f"{database.name} has no remote",
        expected=f"one of: {', '.join(config.remotes)}" if config.remotes else "remotes in the configuration",
        safe="nothing was changed",
        next_step="correct the name" if known else "see docs/off_host.md, then run the playbook install.yml",
    )


def known_remotes(config: Config, database: Database) -> list[Remote]:
    """Where the database's backups go, in the order of its policy."""
    return [config.remotes[key] for key in (database.remotes or config.remotes)]


def push(repository: Repository, database: Database, remotes: Sequence[Remote], progress: Progress) -> Values:
    """Send what is complete to every remote, whatever becomes of the others. ``error`` is the first one's."""
    sent = [_pushed(repository, database, remote, progress) for remote in remotes]
    return {
        "database": database.name,
        "changed": any(each["backups"] or each["segments"] for each in sent),
        "remotes": sent,
        "error": next((each["error"] for each in sent if each["error"]), None),
    }


def _pushed(repository: Repository, database: Database, remote: Remote, progress: Progress) -> Values:
    store = Store(remote)
    found: Values = {"remote": remote.name, "backups": [], "segments": 0, "size": 0, "error": None}
    for kind in (Backups, Archive):
        lane: Backups | Archive = kind(repository, database.name, store, progress)
        try:
            done = lane.run()
        except LitekeepError as problem:
            lane.memory.failed(problem)
            found["error"] = found["error"] or problem.to_json()
        else:
            found["backups"] = done.backups or found["backups"]
            found["segments"] = done.segments or found["segments"]
            found["size"] = int(str(found["size"])) + done.size
    return found


@contextlib.contextmanager
def _brought(
    repository: Repository, database: Database, remotes: Sequence[Remote], choice: Choice, target: str | None
) -> Iterator[tuple[Mirror, Plan, list[str]]]:
    """The restore point of the first remote that has it; its small files are in a scratch folder."""
    with scratch(repository, database) as folder:
        yield planned([Store(remote) for remote in remotes], database, repository.host, folder, choice, target)


def restore_from(
    repository: Repository,
    database: Database,
    remotes: Sequence[Remote],
    choice: Choice,
    target: str | None,
    action: str,
    progress: Progress,
) -> Values:
    """``answers.restore`` out of a remote; only what the point needs is brought, and removed afterwards."""
    with _brought(repository, database, remotes, choice, target) as (mirror, plan, passed):
        if action != "plan" and not plan.prepared:
            mirror.need(plan.point, progress)
        answer = answers.restore(mirror.repository, database, progress, plan.point.id, target, action)
        if action == "restore" and plan.target == os.path.realpath(database.path):
            repository.record_restore(database.name, plan.point.id, plan.target)
    point = answers.point_values(plan.point)
    answer["plan"] = {**_mapping(answer["plan"]), "point": point}
    if answer["result"]:
        answer["result"] = {**_mapping(answer["result"]), "point": point}
    return {**answer, "remote": mirror.store.remote.name, "passed_over": passed}


def listing_from(repository: Repository, database: Database, remote: Remote) -> Values:
    """``answers.listing`` of what a remote holds."""
    with scratch(repository, database) as folder:
        mirror = Mirror(Store(remote), database.name, os.path.join(folder, remote.name), repository.host)
        mirror.look()
        return answers.listing(mirror.repository, database.name)


def pull(
    repository: Repository,
    database: Database,
    remotes: Sequence[Remote],
    choice: Choice,
    into: str,
    progress: Progress,
) -> Values:
    """Bring what a restore point needs into a new folder, a repository by itself: ``--to`` its point restores it."""
    with filled(into) as folder:
        stores = [Store(remote) for remote in remotes]
        mirror, plan, passed = planned(stores, database, repository.host, folder, choice, None, apart=False)
        mirror.need(plan.point, progress)
        mirror.settle(plan.point)
    return {
        "database": database.name,
        "changed": True,
        "remote": mirror.store.remote.name,
        "passed_over": passed,
        "point": answers.point_values(plan.point),
        "path": into,
    }


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def sealed(host: str, done: Sealed) -> Values:
    """What arrived of one host, and was taken over."""
    return {
        "database": done.database,
        "host": host,
        "changed": bool(done.backups or done.segments),
        "backups": done.backups,
        "segments": done.segments,
        "refused": done.refused,
        "error": done.full.to_json() if done.full else None,
    }
