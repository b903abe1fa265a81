# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an audit needs to know of one database, gathered where it stands: on its host, or in a repository elsewhere."""

from __future__ import annotations

import configparser
import datetime as dt
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from . import drill, files, pins, prune, retention
from .config import Database, Remote
from .errors import LitekeepError
from .pins import Pins
from .repository import Repository
from .retention import Decision
from .source import is_wal
from .status import Status, status_of
from .timefmt import now

# What should have gone is noticed when it stands for so long.
_GRACE = dt.timedelta(days=2)


@dataclass(frozen=True)
class Facts:
    """One database.

    here: whether its host was asked. status: how it is protected. drills: the history, oldest first. overdue: what
    retention should have removed long ago. pins: None when they cannot be read. free: bytes of the repository's disk.
    size: bytes of the database. wal: whether it is in WAL mode. sqlite: version of this host's library. exposed: files
    that somebody else than root could change. encrypted: by remote, whether what is there is; None is not known.
    """

    host: str
    database: Database
    here: bool
    at: dt.datetime
    status: Status
    drills: tuple[Mapping[str, object], ...] = ()
    overdue: tuple[Decision, ...] = ()
    pins: Pins | None = None
    free: int = 0
    size: int = 0
    wal: bool = False
    sqlite: tuple[int, int, int] = (0, 0, 0)
    exposed: tuple[str, ...] = ()
    remotes: tuple[Remote, ...] = ()
    encrypted: Mapping[str, bool | None] | None = None


def gather(repository: Repository, database: Database, remotes: Sequence[Remote] = (), here: bool = True) -> Facts:
    """Look at everything of one database. Changes nothing.

    Raises UsageError when the repository cannot be read.
    """
    at = now()
    status = status_of(repository, database, remotes, here)
    facts = Facts(
        repository.host,
        database,
        here,
        at,
        status,
        drills=tuple(drill.history(repository, database.name)),
        free=files.free_bytes(files.existing_parent(repository.folder(database.name))),
        remotes=tuple(remotes),
        encrypted={remote.name: _is_encrypted(remote) for remote in remotes},
        exposed=() if here else tuple(_exposed(status)),
    )
    facts = _with_retention(facts, repository)
    return _with_source(facts) if here else facts


def _with_retention(facts: Facts, repository: Repository) -> Facts:
    database = facts.database
    try:
        pinned = pins.read_pins(repository.folder(database.name))
    except LitekeepError:
        return facts
    overdue: list[Decision] = []
    if database.retention is not None and facts.status.catalogue.backups:
        then = facts.at - _GRACE
        stood = [item for item in prune.items_in(facts.status.catalogue, facts.status.timelines) if item.end <= then]
        decisions = retention.decide(database.retention, stood, then, pinned.backups, pinned.holds)
        overdue = [decision for decision in decisions if not decision.keep]
    return replace(facts, pins=pinned, overdue=tuple(overdue))


def _with_source(facts: Facts) -> Facts:
    path = os.path.realpath(facts.database.path)
    try:
        size, wal = os.path.getsize(path), is_wal(path)
    except OSError:
        return facts
    return replace(facts, size=size, wal=wal, sqlite=sqlite3.sqlite_version_info)


def _is_encrypted(remote: Remote) -> bool | None:
    """Whether the remote is one of rclone's type ``crypt``."""
    settings = configparser.RawConfigParser(strict=False)
    try:
        settings.read_string(_text_of(remote.rclone))
    except (OSError, configparser.Error):
        return None
    section = remote.path.partition(":")[0]
    return settings.get(section, "type", fallback="") == "crypt" if settings.has_section(section) else None


def _text_of(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def _exposed(status: Status) -> list[str]:
    """Files of backups that others than root may write, or could make writable."""
    found = []
    for backup in status.catalogue.backups:
        for file in backup.manifest.files if backup.manifest else ():
            path = os.path.join(backup.folder, file.name)
            try:
                looked = os.stat(path)
            except OSError:
                continue
            if looked.st_uid != 0 or looked.st_mode & 0o022:
                found.append(path)
    return found
