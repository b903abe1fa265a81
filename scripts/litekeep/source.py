# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Opening a live database safely: always ``mode=ro``, never creating it, never in the application's way.

The file's own header is looked at first, so that "not SQLite" and "not there" are told apart in words.
Format: "Database File Format", section 1.3.
"""

from __future__ import annotations

import contextlib
import grp
import math
import os
import pwd
import sqlite3
import stat
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import sqlitefail
from .errors import BusyError, SourceError
from .timefmt import duration_text
from .walfile import IndexState, WalPosition, read_index, read_position

MAGIC = b"SQLite format 3\0"
_ENCRYPTED_ENTROPY = 7.0
_PATIENCE = 0.25
_ATTEMPTS = 100


@dataclass(frozen=True)
class Identity:
    """Who the source is on disk. ``path`` has every symbolic link resolved, as SQLite does for its sidecars."""

    path: str
    device: int
    inode: int
    size: int
    owner: str
    group: str
    mode: int
    uid: int

    def to_json(self) -> dict[str, object]:
        """As manifests hold it."""
        return {
            "path": self.path,
            "device": self.device,
            "inode": self.inode,
            "size": self.size,
            "owner": self.owner,
            "group": self.group,
            "mode": f"{self.mode:04o}",
        }


@dataclass
class Source:
    """An open source. In WAL mode a read transaction is held, so what is read is one committed state.

    wal: the place of that state in the WAL, None when it is not known. in_wal: how many frames of the WAL belong to
    the state and may not be in the database file yet; they stay in the WAL as long as the transaction is held.
    kept_open: descriptors that may be closed only after the connection.
    """

    identity: Identity
    connection: sqlite3.Connection
    journal_mode: str
    page_size: int
    page_count: int
    schema_version: int
    wal: WalPosition | None = None
    in_wal: int = 0
    give_up_at: float = 0.0
    kept_open: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of the database as this reader sees it, the WAL's growth included."""
        return self.page_size * self.page_count


def identify(path: str) -> Identity:
    """Look at the file without SQLite. Raises SourceError, saying in words what stands there instead."""
    resolved = os.path.realpath(path)
    try:
        found = os.stat(resolved)
        if not stat.S_ISREG(found.st_mode):
            raise _not_usable(path, "a directory" if stat.S_ISDIR(found.st_mode) else "no regular file")
        with open(resolved, "rb") as stream:
            head = stream.read(4096)
    except FileNotFoundError as problem:
        raise _missing(path) from problem
    except OSError as problem:
        raise _not_usable(path, f"it cannot be read: {problem.strerror}", "run as root or as its owner") from problem
    if not head:
        raise _not_usable(path, "an empty file of 0 bytes")
    if not head.startswith(MAGIC):
        raise _wrong_header(path, head)
    return Identity(
        path=resolved,
        device=found.st_dev,
        inode=found.st_ino,
        size=found.st_size,
        owner=_user_name(found.st_uid),
        group=_group_name(found.st_gid),
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
    )


@contextlib.contextmanager
def open_source(path: str, deadline: int) -> Iterator[Source]:
    """Open the live database for reading and, in WAL mode, hold one read transaction until the end.

    deadline: seconds to wait for locks. Raises SourceError, BusyError, and sqlitefail.DamagedError when the
    database is too damaged for SQLite to read it.
    """
    identity = identify(path)
    refuse_foreign_sidecars(identity)
    give_up_at = time.monotonic() + deadline
    with contextlib.ExitStack() as at_the_end:
        # POSIX drops all of a process's locks on a file when it closes any descriptor of it ("How To Corrupt
        # An SQLite Database File", section 2.2): -shm may be closed only after the connection, so it stands first.
        kept_open: list[int] = []
        at_the_end.callback(_close_all, kept_open)
        with _explained(path, deadline):
            connection = connect(identity.path, timeout=_PATIENCE)
            at_the_end.callback(connection.close)
            source = _begin_in_time(identity, connection, kept_open, give_up_at)
        yield source


def connect(path: str, *, timeout: float = 5.0, immutable: bool = False) -> sqlite3.Connection:
    """A read-only connection in autocommit mode that runs nothing from the schema it does not trust.

    immutable: for sealed artefacts only; it ignores the WAL ("Uniform Resource Identifiers", section 3.3).
    """
    uri = f"file:{urllib.parse.quote(os.fsencode(path))}?mode=ro" + ("&immutable=1" if immutable else "")
    connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _begin_in_time(
    identity: Identity, connection: sqlite3.Connection, kept_open: list[int], give_up_at: float
) -> Source:
    """Try again and again until the deadline. SQLite's own wait would be deaf to signals all that time."""
    while True:
        try:
            source = _begin(identity, connection, kept_open)
        except sqlite3.Error as problem:
            if not sqlitefail.is_busy(problem) or time.monotonic() > give_up_at:
                raise
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        else:
            source.give_up_at = give_up_at
            return source


def _begin(identity: Identity, connection: sqlite3.Connection, kept_open: list[int]) -> Source:
    journal_mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
    index = _begin_in_wal(identity.path, connection, kept_open) if journal_mode == "wal" else None
    return Source(
        identity=identity,
        connection=connection,
        journal_mode=journal_mode,
        page_size=_number(connection, "page_size"),
        page_count=_number(connection, "page_count"),
        schema_version=_number(connection, "schema_version"),
        wal=index.position if index else None,
        in_wal=index.position.frame if index and index.backfilled < index.position.frame else 0,
        kept_open=kept_open,
    )


def _begin_in_wal(path: str, connection: sqlite3.Connection, kept_open: list[int]) -> IndexState | None:
    """Start the read transaction; its place in the WAL is known when the wal-index did not move meanwhile.

    A transaction that begins before all frames are in the database file keeps the WAL from being reset ("WAL-mode File
    Format", section 2.3.1).
    """
    _begin_reading(connection)
    try:
        kept_open.append(os.open(f"{path}-shm", os.O_RDONLY))
    except OSError:
        return None
    index = kept_open[-1]
    for _attempt in range(_ATTEMPTS):
        connection.execute("COMMIT")
        before = read_position(index)
        _begin_reading(connection)
        after = read_index(index)
        if after is not None and before == after.position:
            return after
    return None


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _begin_reading(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


@contextlib.contextmanager
def _explained(path: str, deadline: int) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as problem:
        if sqlitefail.is_busy(problem):
            raise busy(path, deadline) from problem
        if sqlitefail.is_damage(problem):
            raise sqlitefail.DamagedError(str(problem)) from problem
        if os.path.exists(f"{os.path.realpath(path)}-journal"):
            raise _hot_journal(path, problem) from problem
        raise SourceError(
            f"SQLite cannot open {path}",
            expected="a database whose directory this user may write to (a WAL database needs -wal and -shm there)",
            found=str(problem),
            safe="nothing was written",
            next_step=f"run as root or as the database's owner, and look at: ls -la {os.path.dirname(path)}",
        ) from problem


def busy(path: str, deadline: int) -> BusyError:
    """The error for a source whose locks could not be had in time."""
    return BusyError(
        f"{path} stayed locked",
        expected=f"a moment to read within {duration_text(deadline)}",
        found="another process held its lock, or kept changing it, all that time",
        safe="the database is untouched; earlier backups stand",
        next_step=f"see who has it open (fuser -v {path}), raise the deadline, or switch the database to WAL mode",
    )


def is_wal(path: str) -> bool:
    """Whether the file's header asks for a WAL ("Database File Format", section 1.3.3)."""
    with open(path, "rb") as stream:
        return stream.read(20)[18:20] == b"\2\2"


def refuse_foreign_sidecars(identity: Identity) -> None:
    """A stranger's -wal and -shm would stay behind and lock the application out; root's get the owner's name."""
    foreign = os.geteuid() not in (0, identity.uid)
    if is_wal(identity.path) and foreign and not os.path.exists(f"{identity.path}-shm"):
        raise SourceError(
            f"{identity.path} belongs to {identity.owner}",
            expected=f"root or {identity.owner}",
            found=f"user {_user_name(os.geteuid())}, whose -wal and -shm files would lock the application out",
            safe="nothing was written",
            next_step=f"run it with: sudo -u {identity.owner}",
        )


def _hot_journal(path: str, problem: sqlite3.Error) -> SourceError:
    return SourceError(
        f"{path} waits for a rollback",
        expected="a database at rest",
        found=f"a hot {path}-journal: its writer stopped inside a transaction ({problem})",
        safe="both files are untouched; together they are whole",
        next_step=f"start the application, or run: sqlite3 {path} 'PRAGMA schema_version', then back up again",
    )


def _missing(path: str) -> SourceError:
    directory = os.path.dirname(path) or "."
    near: list[str] = []
    if os.path.isdir(directory):
        with contextlib.suppress(OSError):
            near = sorted(n for n in os.listdir(directory) if n.endswith((".db", ".sqlite", ".sqlite3")))[:5]
    else:
        directory += " (this directory is missing, too)"
    return SourceError(
        f"{path} does not exist",
        expected="a SQLite database",
        found=f"in {directory}: {', '.join(near) or 'no file that looks like one'}",
        safe="no file was created; earlier backups stand",
        next_step="correct the path; if the file was lost, restore it: litekeep list, then litekeep restore",
    )


def _not_usable(path: str, found: str, next_step: str = "") -> SourceError:
    return SourceError(
        f"{path} is not a SQLite database",
        expected="a file that begins with 'SQLite format 3'",
        found=found,
        safe="the file is untouched; earlier backups stand",
        next_step=next_step or "correct the path; if the database was lost: litekeep list, then litekeep restore",
    )


def _wrong_header(path: str, head: bytes) -> SourceError:
    if len(head) >= 512 and entropy(head) > _ENCRYPTED_ENTROPY:
        return _not_usable(
            path,
            "bytes without any pattern: encrypted (SQLCipher, SEE), or overwritten",
            "an encrypted database cannot be checked from outside: back up what the application exports; "
            "if it was readable before, restore it",
        )
    return _not_usable(path, f"another file, it begins with {head[:16]!r}")


def entropy(block: bytes) -> float:
    """Shannon entropy in bits a byte, 0 to 8."""
    return -sum(n / len(block) * math.log2(n / len(block)) for n in Counter(block).values())


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
