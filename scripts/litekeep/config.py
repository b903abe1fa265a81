# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The configuration: which databases this host protects, and where their backups go.

One JSON file, written by the role ``sqlite_backup``. Unknown keys are refused: a misspelt policy that is
silently ignored is a policy nobody has.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from .errors import UsageError
from .retentionpolicy import KEYS as _RETENTION_KEYS
from .retentionpolicy import Policy, policy_from
from .timefmt import parse_duration, parse_size

DEFAULT_PATH = "/etc/litekeep/litekeep.json"
DEFAULT_DEADLINE = 600
DEFAULT_DRILL_EVERY = 30 * 86_400
# Of an event database, level 3 stores 3 % less and compresses 1.4 times as long (docs/performance.md).
DEFAULT_LEVEL = 2

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DATABASE_KEYS = (
    "path",
    "staging",
    "deadline",
    "compression_level",
    "services",
    "objectives",
    "archive",
    "archive_settings",
    "time_columns",
    "remotes",
    "retention",
    "assertions",
)
_ARCHIVE_KEYS = ("interval", "heartbeat", "relief", "max_wal", "reserve", "roll")
_OBJECTIVE_KEYS = ("rpo", "rto", "drill_every")
_REMOTE_KEYS = ("rclone", "path", "incoming", "interval", "check", "bandwidth", "timeout")
CHECKS = ("read_back", "size")
_INCOMING = re.compile(r"\.?[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# A remote and its path, as rclone takes them: none of its connection strings, which can hold secrets.
_REMOTE_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@ -]*:[^\x00\n]*")


@dataclass(frozen=True)
class ArchiveSettings:
    """How the archiver works. Durations in seconds, sizes in bytes.

    interval: between two segments. heartbeat: between two records that nothing was committed. relief: the size of
    the WAL from which on it is brought to begin anew. max_wal: the size at which continuity is given up rather than
    the disk. reserve: free space in the repository below which nothing is archived. roll: the age at which a timeline
    goes on in a new one, so that old ones can be removed; 0 is never.
    """

    interval: int = 1
    heartbeat: int = 10
    relief: int = 64_000_000
    max_wal: int = 1_000_000_000
    reserve: int = 1_000_000_000
    roll: int = 86_400


@dataclass(frozen=True)
class Remote:
    """A place off the host.

    rclone: the configuration file of rclone, with its keys. path: this host's folder there, as rclone names it
    (``REMOTE:`` and a path). incoming: a folder in it into which is written, where the server itself moves on what is
    complete; empty where there is none. interval: seconds between two pushes of the archive. check: one of CHECKS: read
    again what was written, or compare its size. bandwidth: as rclone's ``--bwlimit`` takes it. timeout: seconds.
    """

    name: str
    rclone: str
    path: str
    incoming: str = ""
    interval: int = 10
    check: str = "read_back"
    bandwidth: str = ""
    timeout: int = 30


@dataclass(frozen=True)
class Database:
    """A database with its policy.

    deadline: seconds to wait for locks, and to copy a database that is not in WAL mode.
    staging: the directory of the uncompressed copy; None is the repository itself.
    rpo, rto: objectives in seconds, None when the user has stated none. drill_every: seconds within which every kept
    backup is drilled. time_columns: the column of each table that holds its times. remotes: where its backups go off
    the host; none named is all. retention: how long they are kept here; None is for ever. assertions: SQL whose first
    value must be true of each restored state.
    """

    name: str
    path: str
    staging: str | None = None
    deadline: int = DEFAULT_DEADLINE
    compression_level: int = DEFAULT_LEVEL
    services: tuple[str, ...] = ()
    rpo: int | None = None
    rto: int | None = None
    drill_every: int = DEFAULT_DRILL_EVERY
    archive: bool = False
    archive_settings: ArchiveSettings = field(default_factory=ArchiveSettings)
    time_columns: Mapping[str, str] = field(default_factory=dict)
    remotes: tuple[str, ...] = ()
    retention: Policy | None = None
    assertions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """Everything one host's Litekeep knows."""

    repository: str
    host: str
    databases: Mapping[str, Database] = field(default_factory=dict)
    remotes: Mapping[str, Remote] = field(default_factory=dict)

    def database(self, name: str) -> Database:
        """The database of that name; UsageError, naming the known ones, when there is none."""
        if name not in self.databases:
            known = ", ".join(sorted(self.databases)) or "none"
            raise UsageError(
                f"No database is called {name!r}", expected=f"one of: {known}", next_step="run: litekeep status"
            )
        return self.databases[name]


def check_name(name: object, what: str) -> str:
    """A name that is safe as a folder, as a systemd instance and in a command; UsageError otherwise."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise UsageError(
        f"{what} {name!r} cannot be used",
        expected="1 to 64 letters, digits, dots, dashes or underscores, the first one a letter or a digit",
        found=repr(name),
        next_step=f"give the {what} another name, for example {_suggestion(name)!r}",
    )


def _suggestion(name: object) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", str(name)).strip("-._")[:64] or "events"


def database_from(name: str, values: object, where: str = "databases") -> Database:
    """One database's policy out of plain values (JSON, or an Ansible module's parameters)."""
    check_name(name, "database name")
    what = f"{where}.{name}"
    values = _mapping(values, what, _DATABASE_KEYS)
    objectives = _mapping(_given(values, "objectives", {}), f"{what}.objectives", _OBJECTIVE_KEYS)
    staging = values.get("staging")
    rpo, rto = objectives.get("rpo"), objectives.get("rto")
    return Database(
        name=name,
        path=_absolute(values.get("path"), f"{what}.path"),
        staging=None if staging is None else _absolute(staging, f"{what}.staging"),
        deadline=parse_duration(_given(values, "deadline", DEFAULT_DEADLINE), f"{what}.deadline"),
        compression_level=_level(_given(values, "compression_level", DEFAULT_LEVEL), f"{what}.compression_level"),
        services=_texts(_given(values, "services", []), f"{what}.services"),
        rpo=None if rpo is None else parse_duration(rpo, f"{what}.objectives.rpo"),
        rto=None if rto is None else parse_duration(rto, f"{what}.objectives.rto"),
        drill_every=parse_duration(
            _given(objectives, "drill_every", DEFAULT_DRILL_EVERY), f"{what}.objectives.drill_every"
        ),
        archive=_switch(_given(values, "archive", False), f"{what}.archive"),
        archive_settings=_archive_settings(_given(values, "archive_settings", {}), f"{what}.archive_settings"),
        remotes=_texts(_given(values, "remotes", []), f"{what}.remotes"),
        time_columns=_names(_given(values, "time_columns", {}), f"{what}.time_columns"),
        retention=_retention(values.get("retention"), f"{what}.retention"),
        assertions=_texts(_given(values, "assertions", []), f"{what}.assertions"),
    )


def _retention(values: object, what: str) -> Policy | None:
    return None if values is None else policy_from(_mapping(values, what, _RETENTION_KEYS), what)


def _archive_settings(values: object, what: str) -> ArchiveSettings:
    given = {key: value for key, value in _mapping(values, what, _ARCHIVE_KEYS).items() if value is not None}
    parsed = {
        key: (parse_duration if key in ("interval", "heartbeat", "roll") else parse_size)(value, f"{what}.{key}")
        for key, value in given.items()
    }
    settings = ArchiveSettings(**parsed)
    if settings.interval < 1 or settings.heartbeat < 1 or not 1_000_000 <= settings.relief < settings.max_wal:
        raise UsageError(
            f"{what} cannot be used",
            expected="interval and heartbeat from 1s, relief from 1MB, max_wal above relief",
            found=", ".join(f"{key} {value}" for key, value in vars(settings).items()),
            next_step=f"correct {what}",
        )
    return settings


def _names(values: object, what: str) -> dict[str, str]:
    if isinstance(values, dict) and all(isinstance(text, str) for pair in values.items() for text in pair):
        return values
    raise UsageError(
        f"{what} cannot be used",
        expected="a table's name and its column's, for each table",
        found=repr(values),
        next_step=f"correct {what}",
    )


def _switch(value: object, what: str) -> bool:
    if isinstance(value, bool):
        return value
    raise UsageError(f"{what} is neither true nor false", found=repr(value), next_step=f"correct {what}")


def config_from(values: object, where: str) -> Config:
    """A whole configuration out of plain values. Raises UsageError, naming the key."""
    values = _mapping(values, where, ("repository", "host", "databases", "remotes"))
    config = Config(
        repository=_absolute(values.get("repository"), f"{where}: repository"),
        host=check_name(values.get("host"), "host name"),
        databases={
            name: database_from(name, policy, f"{where}: databases")
            for name, policy in _policies(values, "databases", where)
        },
        remotes={
            name: remote_from(name, policy, f"{where}: remotes") for name, policy in _policies(values, "remotes", where)
        },
    )
    for database in config.databases.values():
        unknown = [name for name in database.remotes if name not in config.remotes]
        if unknown:
            raise UsageError(
                f"{where}: databases.{database.name}.remotes names {', '.join(unknown)}",
                expected=f"remotes of the configuration: {', '.join(config.remotes) or 'there are none'}",
                next_step="correct the name, or add the remote",
            )
    return config


def _policies(values: Mapping[str, object], key: str, where: str) -> Iterable[tuple[str, object]]:
    given = _given(values, key, {})
    if isinstance(given, dict):
        return given.items()
    raise UsageError(f"{where}: {key} is no mapping", expected="names and policies", found=repr(given))


def remote_from(name: str, values: object, where: str = "remotes") -> Remote:
    """One remote out of plain values (JSON, or an Ansible module's parameters)."""
    check_name(name, "remote name")
    what = f"{where}.{name}"
    values = _mapping(values, what, _REMOTE_KEYS)
    remote = Remote(
        name=name,
        rclone=_absolute(values.get("rclone"), f"{what}.rclone"),
        path=_text(values.get("path"), f"{what}.path"),
        incoming=_text(_given(values, "incoming", ""), f"{what}.incoming"),
        interval=parse_duration(_given(values, "interval", Remote.interval), f"{what}.interval"),
        check=_text(_given(values, "check", Remote.check), f"{what}.check"),
        bandwidth=_text(_given(values, "bandwidth", ""), f"{what}.bandwidth"),
        timeout=parse_duration(_given(values, "timeout", Remote.timeout), f"{what}.timeout"),
    )
    wrong = [
        words
        for words, right in (
            ("path as NAME:FOLDER, NAME as in rclone's configuration", _REMOTE_PATH.fullmatch(remote.path)),
            ("incoming as the name of one folder", not remote.incoming or _INCOMING.fullmatch(remote.incoming)),
            ("interval from 1s", remote.interval >= 1),
            (f"check as one of {', '.join(CHECKS)}", remote.check in CHECKS),
            ("bandwidth as rclone takes it, for example 8M", re.fullmatch(r"[0-9A-Za-z:.,; /-]*", remote.bandwidth)),
            ("timeout from 1s", remote.timeout >= 1),
        )
        if not right
    ]
    if wrong:
        raise UsageError(
            f"{what} cannot be used", expected="; ".join(wrong), found=repr(values), next_step=f"correct {what}"
        )
    return remote


def _text(value: object, what: str) -> str:
    if isinstance(value, str):
        return value
    raise UsageError(f"{what} is no text", found=repr(value), next_step=f"correct {what}")


def load_config(path: str) -> Config:
    """Read and check the configuration file. Raises UsageError."""
    try:
        with open(path, encoding="utf-8") as stream:
            values = json.load(stream)
    except OSError as problem:
        raise UsageError(
            f"The configuration {path} cannot be read",
            found=str(problem.strerror),
            next_step="run the playbook install.yml, run this as root, or use --database PATH --repository DIR",
        ) from problem
    except (ValueError, RecursionError) as problem:
        raise UsageError(
            f"The configuration {path} is not JSON", found=str(problem), next_step="run the playbook install.yml again"
        ) from problem
    return config_from(values, path)


def _given(values: Mapping[str, object], key: str, default: object) -> object:
    value = values.get(key)
    return default if value is None else value


def _mapping(values: object, what: str, known: Collection[str]) -> dict[str, object]:
    if not isinstance(values, dict):
        raise UsageError(f"{what} is no mapping", expected="keys: " + ", ".join(known), found=type(values).__name__)
    unknown = sorted(str(key) for key in values if key not in known)
    if unknown:
        raise UsageError(
            f"{what} has unknown keys: {', '.join(unknown)}",
            expected="keys: " + ", ".join(known),
            next_step="correct the spelling, or take the key out",
        )
    return values


def _absolute(value: object, what: str) -> str:
    if isinstance(value, str) and os.path.isabs(value) and _can_be_a_path(value):
        return os.path.normpath(value)
    raise UsageError(
        f"{what} is not an absolute path",
        expected="a path that begins with /",
        found=repr(value),
        next_step=f"correct {what}",
    )


def _can_be_a_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _level(value: object, what: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 19:
        return value
    raise UsageError(f"{what} is no zstd level", expected="a number from 1 to 19", found=repr(value))


def _texts(value: object, what: str) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise UsageError(f"{what} is no list of texts", found=repr(value))
