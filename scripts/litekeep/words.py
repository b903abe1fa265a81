# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The words of the command ``litekeep``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from . import __version__
from .config import DEFAULT_PATH
from .controls import FAIL_ON, WARNING
from .errors import UsageError
from .exportfile import FORMATS
from .importer import CONFLICTS
from .repair import METHODS
from .timecolumn import UNITS
from .writing import TRIGGERS

EXIT_CODES = (
    "exit codes: 0 done, 1 unexpected, 2 usage or configuration, 3 verification failed, 4 no such restore point, "
    "5 busy, 6 target in use, 7 not enough space, 8 source missing or no database, 9 remote failed"
)
_AUDIT = "Say what is wrong with the protection of all databases, and how to mend it."


class _Parser(argparse.ArgumentParser):
    """Wrong words are a UsageError like any other."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, next_step=f"{self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """All words."""
    top = _Parser(
        prog="litekeep", description="Verified backups of SQLite databases, and their restore.", epilog=EXIT_CODES
    )
    top.add_argument("--version", action="version", version=f"litekeep {__version__}")
    top.add_argument("--config", metavar="FILE", help=f"the configuration (default: {DEFAULT_PATH})")
    top.add_argument("--database", metavar="PATH", help="a database, instead of a configuration")
    top.add_argument("--repository", metavar="DIR", help="where its backups are")
    top.add_argument("--host", metavar="NAME", help="whose backups (default: the configuration's, or this host)")
    every = _Parser(add_help=False)
    every.add_argument("--json", action="store_true", help="answer in JSON on standard output")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, text: str, name_needed: bool = False) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[every])
        many = "the database" if name_needed else "the database (default: all that are configured)"
        sub.add_argument("name", metavar="NAME", nargs="?", help=many)
        return sub

    backup = command("backup", "Take a verified backup.")
    backup.add_argument("--type", choices=["full"], default="full", help="what to take")
    backup.add_argument("--max-age", metavar="DURATION", help="only when the newest is older, for example 20h")
    verify = command("verify", "Read stored backups and prove that they are what was stored.")
    which = verify.add_mutually_exclusive_group()
    which.add_argument("--backup", metavar="ID", help="this one (default: the newest)")
    which.add_argument("--all", action="store_true", help="all of them")
    which.add_argument("--live", action="store_true", help="check the live database instead")
    listing = command("list", "List backups.")
    listing.add_argument("--from", metavar="REMOTE", dest="remote", help="what this remote holds")
    command("status", "Say how databases are protected, and what is wrong.")
    restore = command("restore", "Restore a database in its place, or to another path.", name_needed=True)
    restore.add_argument(
        "--to", metavar="latest|TIME|ID", default="latest", help="which state (default: the newest that is proven)"
    )
    restore.add_argument("--nearest", action="store_true", help="if TIME cannot be restored, the moment before it")
    restore.add_argument("--timeline", metavar="ID", help="only this timeline, where the clock was set back")
    restore.add_argument("--target", metavar="PATH", help="another path, which must be free")
    restore.add_argument("--from", metavar="REMOTE", dest="remote", help="out of this remote; any: the first that can")
    how = restore.add_mutually_exclusive_group()
    how.add_argument("--prepare", action="store_true", help="only build and prove beside the target")
    how.add_argument("--rollback", action="store_true", help="put back what the last restore replaced")
    how.add_argument("--discard", action="store_true", help="give up what --prepare built")
    restore.add_argument("--plan", action="store_true", help="say what would be done, change nothing")
    command("archive", "Keep every commit, until stopped: point-in-time recovery.", name_needed=True)
    _data_words(command)
    _damage_words(command)
    _remote_words(command)
    _retention_words(command)
    _drill_words(command)
    audit = commands.add_parser("audit", help=_AUDIT, description=_AUDIT, parents=[every])
    _audit_words(audit)
    config = commands.add_parser("config", help="Print the configuration as it is understood.", parents=[every])
    config.set_defaults(name=None)
    return top


def _data_words(command: Callable[..., argparse.ArgumentParser]) -> None:
    export = command("export", "Write rows into files that can be proven and imported again.", name_needed=True)
    export.add_argument("--table", metavar="T", help="this one (default: all, into the folder --output)")
    export.add_argument("--output", metavar="PATH", help="a new file, or a folder (default: standard output)")
    state = export.add_mutually_exclusive_group()
    state.add_argument("--at", metavar="live|latest|TIME|ID", default="live", help="which state (default: live)")
    state.add_argument("--since", metavar="TIME|ID", help="what is new or another one since that state, into a folder")
    export.add_argument("--nearest", action="store_true", help="if that state cannot be restored, the moment before it")
    export.add_argument("--from", metavar="A", dest="start", help="rows from this time on")
    export.add_argument("--to", metavar="B", dest="end", help="rows until before this time")
    export.add_argument("--time-column", metavar="C", help="that holds the times (default: time_columns of the policy)")
    export.add_argument("--time-unit", choices=UNITS, help="how it holds them (default: found out from the data)")
    export.add_argument("--format", choices=FORMATS, default="jsonl", help="default: jsonl")
    export.add_argument("--zstd", action="store_true", help="compressed")
    export.add_argument("--plain", action="store_true", help="without the header record, for other programs")
    imports = command("import", "Put exported rows into a table, all of them or none.", name_needed=True)
    imports.add_argument("files", metavar="FILE", nargs="+", help="what litekeep export wrote")
    imports.add_argument("--table", metavar="T", help="another table than was exported")
    imports.add_argument("--create", action="store_true", help="make the table where there is none")
    imports.add_argument("--conflict", choices=CONFLICTS, default="abort", help="rows that are there (default: abort)")
    undelete = command("undelete", "Put back rows that were there at a moment and are not now.", name_needed=True)
    undelete.add_argument("--to", metavar="TIME|ID", required=True, help="the moment before they went")
    undelete.add_argument("--table", metavar="T", action="append", help="only this one; may be repeated")
    undelete.add_argument("--nearest", action="store_true", help="if TIME cannot be restored, the moment before it")
    for sub in (imports, undelete):
        sub.add_argument(
            "--triggers", choices=TRIGGERS, default="fire", help="of the tables written to (default: fire)"
        )
        sub.add_argument("--foreign-keys", choices=("check", "ignore"), default="check", help="default: check")
        sub.add_argument("--dry-run", action="store_true", help="do it all, report it, and take it back")
    commits = command("commits", "Show the rows of each table around a time, and where rows went.", name_needed=True)
    commits.add_argument("--around", metavar="TIME", required=True, help="the suspected time")
    commits.add_argument("--within", metavar="DURATION", default="10m", help="before and after it (default: 10m)")


def _damage_words(command: Callable[..., argparse.ArgumentParser]) -> None:
    command("triage", "Say what is wrong with a database, on a copy of it.", name_needed=True)
    repair = command("repair", "Make a new database out of a damaged one.", name_needed=True)
    repair.add_argument("--method", choices=METHODS, required=True, help="indexes anew, or read out what can be read")
    repair.add_argument("--target", metavar="PATH", help="a free path (default: the damaged one's place)")


def _remote_words(command: Callable[..., argparse.ArgumentParser]) -> None:
    push = command("push", "Send what is complete off the host, and prove that it arrived.")
    push.add_argument("--remote", metavar="REMOTE", help="only to this one")
    push.add_argument("--follow", action="store_true", help="go on with what comes, until stopped")
    pull = command("pull", "Bring what a restore point needs into a new folder.", name_needed=True)
    pull.add_argument("--from", metavar="REMOTE", dest="remote", default="any", help="default: the first that can")
    pull.add_argument("--into", metavar="DIR", required=True, help="a new folder; it becomes a repository")
    pull.add_argument("--to", metavar="latest|TIME|ID", default="latest", help="which state (default: the newest)")
    pull.add_argument("--nearest", action="store_true", help="if TIME cannot be restored, the moment before it")
    pull.add_argument("--timeline", metavar="ID", help="only this timeline, where the clock was set back")
    seal = command("seal", "On a backup server: take over what has arrived complete.")
    seal.add_argument("--reserve", metavar="SIZE", default="1GB", help="free space that stays (default: 1GB)")
    seal.add_argument(
        "--limit", metavar="SIZE", default="50GB", help="what may wait of one host; more is removed (default: 50GB)"
    )


def _retention_words(command: Callable[..., argparse.ArgumentParser]) -> None:
    prune = command("prune", "Remove what the policy no longer keeps; say why each item stays or goes.")
    how = prune.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="say what would go, remove nothing")
    how.add_argument("--plan", metavar="HASH", help="only if the plan is still the one that --dry-run showed")
    how.add_argument("--simulate", metavar="DURATION", help="what will stand on each day to come, for example 90d")
    prune.add_argument("--every", metavar="DURATION", help="with --simulate: a backup so often (default: as until now)")
    for name, text in (
        ("pin", "Keep a backup, whatever the rules say."),
        ("unpin", "Leave a backup to the rules again."),
    ):
        pin = command(name, text, name_needed=True)
        pin.add_argument("backup", metavar="BACKUP", help="its id")
        if name == "pin":
            pin.add_argument("--reason", metavar="TEXT", default="", help="for those who come later")
    hold = command("hold", "Keep all that is needed for a span of time, until released.", name_needed=True)
    hold.add_argument("hold", metavar="HOLD", help="a name for it")
    hold.add_argument("--from", metavar="TIME", dest="start", help="default: from the beginning")
    hold.add_argument("--to", metavar="TIME", dest="end", help="default: for ever")
    hold.add_argument("--reason", metavar="TEXT", default="", help="for those who come later")
    release = command("release", "Give up a hold.", name_needed=True)
    release.add_argument("hold", metavar="HOLD", help="its name")


def _drill_words(command: Callable[..., argparse.ArgumentParser]) -> None:
    drill = command("drill", "Restore into scratch, check and time it, and keep the evidence.")
    which = drill.add_mutually_exclusive_group()
    which.add_argument("--to", metavar="latest|TIME|ID", help="this state (default: the newest, and what is due)")
    which.add_argument("--all", action="store_true", help="the newest state and every backup")
    which.add_argument("--random", action="store_true", help="one backup that chance takes")
    drill.add_argument("--dry-run", action="store_true", help="say which, do nothing")


def _audit_words(audit: argparse.ArgumentParser) -> None:
    audit.set_defaults(name=None)
    audit.add_argument(
        "--repository", metavar="DIR", dest="audited", help="only this repository, of all hosts in it; visits no host"
    )
    audit.add_argument("--reports", metavar="DIR", help="write audit.json, .csv, .prom and .html there")
    audit.add_argument(
        "--fail-on", choices=FAIL_ON, default=WARNING, help="the least severity that ends with 3 (default: warning)"
    )
    audit.add_argument(
        "--discover", metavar="DIR", action="append", help="look for unprotected databases here (default: /)"
    )
    audit.add_argument(
        "--exempt", metavar="PATTERN", action="append", default=[], help="but not here; may be repeated, as --discover"
    )
