# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Folders for files that nobody needs afterwards, and the states of a database that are read from there."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from . import restore
from .config import Database
from .files import existing_parent, private_directory
from .held import held_folder
from .planner import Point
from .progress import Progress
from .repository import Repository
from .source import connect, open_source

_PREFIX = ".litekeep-scratch-"
LIVE = "live"


@contextlib.contextmanager
def scratch(repository: Repository, database: Database) -> Iterator[str]:
    """A private folder where the database's copies may lie. What killed processes left there goes first."""
    parent = database.staging or repository.folder(database.name)
    if not os.access(existing_parent(parent), os.W_OK):
        parent = tempfile.gettempdir()
    private_directory(parent)
    with held_folder(parent, _PREFIX) as folder:
        yield folder


@dataclass(frozen=True)
class State:
    """One committed state of a database, to be read. point: None is the live database's present one.

    path: the file that holds it, to which nobody writes; empty for the live database.
    """

    connection: sqlite3.Connection
    point: Point | None
    path: str = ""


class Beside(NamedTuple):
    """A restored copy, and which state it is."""

    path: str
    point: Point


@contextlib.contextmanager
def state_at(
    repository: Repository, database: Database, at: str, progress: Progress, nearest: bool = False
) -> Iterator[State]:
    """The state ``at``: ``live``, or what ``restore`` takes (``latest``, a moment, an id), restored beside.

    In WAL mode the live database goes on meanwhile; in another mode its writers wait.
    Raises what ``restore`` and ``open_source`` raise.
    """
    if at == LIVE:
        with open_source(database.path, database.deadline) as source:
            yield State(source.connection, None)
        return
    with (
        restored_beside(repository, database, at, progress, nearest) as beside,
        contextlib.closing(connect(beside.path, immutable=True)) as connection,
    ):
        yield State(connection, beside.point, beside.path)


@contextlib.contextmanager
def restored_beside(
    repository: Repository, database: Database, at: str, progress: Progress, nearest: bool = False
) -> Iterator[Beside]:
    """A restored copy that is gone afterwards."""
    with scratch(repository, database) as folder:
        path = os.path.join(folder, "state.db")
        plan = restore.plan(repository, database, at, path, nearest)
        restore.restore(repository, database, plan, progress)
        yield Beside(path, plan.point)
