# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The ``litekeep`` command: words in, an answer out, an exit code that scripts can rely on."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import NoReturn

from . import __version__, answers, render
from .answers import Values
from .archive import Archiver
from .config import DEFAULT_PATH, Config, Database, check_name, database_from, load_config
from .errors import LitekeepError, UsageError
from .progress import Progress, for_stream
from .repository import Repository
from .timefmt import parse_duration

EXIT_CODES = (
    "exit codes: 0 done, 1 unexpected, 2 usage or configuration, 3 verification failed, 4 no such restore point, "
    "5 busy, 6 target in use, 7 not enough space, 8 source missing or no database, 9 remote failed"
)


class _Parser(argparse.ArgumentParser):
    """Wrong words are a UsageError like any other."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, next_step=f"{self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; never raises a LitekeepError."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    progress = Progress()
    command = ""
    try:
        options = _parser().parse_args(words)
        command = options.command
        if not as_json:
            progress = for_stream()
        signal.signal(signal.SIGTERM, _terminated)
        code = _Run(options, progress, as_json).command()
        sys.stdout.flush()
        return code
    except LitekeepError as problem:
        progress.close()
        _tell_error(problem, command, as_json)
        return problem.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        progress.close()
        sys.stderr.write("litekeep: interrupted; nothing that counts was changed\n")
        return 130


def _terminated(_number: int, _frame: object) -> NoReturn:
    """Leave through all clean-ups: no gigabytes of staging stay behind."""
    raise SystemExit(128 + signal.SIGTERM)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _say_now(text: str) -> None:
    """For the journal: as it happens."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _tell_error(problem: LitekeepError, command: str, as_json: bool) -> None:
    if as_json:
        _say(json.dumps(_answer(command, [], problem.exit_code, problem.to_json()), indent=2))
    else:
        sys.stderr.write(f"litekeep: {problem}\n")


def _answer(command: str, databases: list[Values], exit_code: int, error: Values | None = None) -> Values:
    return {
        "format": {"name": "litekeep-answer", "version": 1},
        "command": command,
        "exit_code": exit_code,
        "error": error,
        "databases": databases,
    }


class _Run:
    """One run of one command."""

    def __init__(self, options: argparse.Namespace, progress: Progress, as_json: bool) -> None:
        self.options = options
        self.progress = progress
        self.as_json = as_json
        self.config = _configuration(options)
        self.repository = Repository(self.config.repository, self.config.host)

    def command(self) -> int:
        """Dispatch."""
        run: Callable[[], int] = getattr(self, f"run_{self.options.command}")
        return run()

    def run_backup(self) -> int:
        """``backup NAME``"""
        max_age = self.options.max_age
        limit = None if max_age is None else parse_duration(max_age, "--max-age")
        return self._each(
            lambda database: answers.backup(self.repository, database, self.progress, limit), render.backup
        )

    def run_verify(self) -> int:
        """``verify [NAME]``"""
        if self.options.live:
            return self._each(answers.verify_live, render.verify_live, lambda answer: 0 if answer["passed"] else 3)
        return self._each(
            lambda database: answers.verify(
                self.repository, database, self.progress, self.options.backup, self.options.all
            ),
            render.verify,
            lambda answer: 0 if answer["passed"] else 3,
        )

    def run_list(self) -> int:
        """``list [NAME]``"""
        return self._each(lambda database: answers.listing(self.repository, database.name), render.catalogue)

    def run_status(self) -> int:
        """``status [NAME]``"""
        return self._each(
            lambda database: answers.status(self.repository, database),
            render.status,
            lambda answer: int(str(answer["exit_code"])),
        )

    def run_restore(self) -> int:
        """``restore NAME``"""
        options = self.options
        self._one()
        if options.discard:
            return self._each(lambda database: answers.discard(database, options.target, options.plan), render.restore)
        if options.rollback:
            return self._each(
                lambda database: answers.rollback(database, self.progress, options.target, options.plan),
                render.restore,
            )
        action = "plan" if options.plan else "prepare" if options.prepare else "restore"
        return self._each(
            lambda database: answers.restore(
                self.repository,
                database,
                self.progress,
                options.to,
                options.target,
                action,
                options.nearest,
                options.timeline,
            ),
            render.restore,
        )

    def run_archive(self) -> int:
        """``archive NAME``: until a signal ends it."""
        database = self._one()
        words = [sys.executable, "-m", __package__, *context_words(self.options), "backup", database.name]
        environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}

        def start_backup() -> subprocess.Popen[bytes]:
            return subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

        archiver = Archiver(self.repository, database, start_backup, lambda line: _say_now(f"{database.name}: {line}"))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_arguments: archiver.stop.set())
        archiver.run()
        return 0

    def _one(self) -> Database:
        """The one database that the command is about."""
        if self.options.name is not None:
            return self.config.database(self.options.name)
        command = self.options.command
        raise UsageError(
            f"{command} needs the name of one database",
            expected=f"one of: {', '.join(sorted(self.config.databases)) or 'none'}",
            safe="nothing was changed",
            next_step=f"litekeep {command} NAME",
        )

    def run_config(self) -> int:
        """``config``: print the configuration as it was understood, in the form of the file."""
        _say(json.dumps(asdict(self.config), indent=2))
        return 0

    def _databases(self) -> list[Database]:
        name = self.options.name
        if name is None:
            return [self.config.databases[key] for key in sorted(self.config.databases)]
        return [self.config.database(name)]

    def _each(
        self,
        work: Callable[[Database], Values],
        words: Callable[[Values], Iterable[str]],
        verdict: Callable[[Values], int] = lambda _answer: 0,
    ) -> int:
        """Do the work for every chosen database, whatever happens to the others; the worst code is the exit code."""
        found: list[Values] = []
        if not self.config.databases:
            sys.stderr.write("litekeep: no databases are configured, so nothing is protected\n")
        worst, first_error = 0, None
        for database in self._databases():
            try:
                answer = work(database)
                code = verdict(answer)
                self._tell(words(answer))
            except LitekeepError as problem:
                code, answer = problem.exit_code, {"database": database.name, "error": problem.to_json()}
                first_error = first_error or problem.to_json()
                self.progress.close()
                if not self.as_json:
                    _tell_error(problem, self.options.command, False)
            found.append(answer)
            worst = worst or code
        if self.as_json:
            _say(json.dumps(_answer(self.options.command, found, worst, first_error), indent=2))
        return worst

    def _tell(self, lines: Iterable[str]) -> None:
        self.progress.close()
        if not self.as_json:
            for line in lines:
                _say(line)


def _configuration(options: argparse.Namespace) -> Config:
    """Out of ``--config``, out of ``--database`` and ``--repository``, or the host's own file."""
    if options.database is None and options.repository is None:
        config = load_config(options.config or DEFAULT_PATH)
        return config if options.host is None else replace(config, host=check_name(options.host, "host name"))
    if options.config is not None or options.database is None or options.repository is None:
        raise UsageError("--database and --repository go together, and without --config", next_step="litekeep --help")
    path = os.path.abspath(options.database)
    name = options.name or os.path.splitext(os.path.basename(path))[0]
    options.name = name
    host = check_name(options.host or socket.gethostname().split(".")[0], "host name")
    return Config(os.path.abspath(options.repository), host, {name: database_from(name, {"path": path})})


def context_words(options: argparse.Namespace) -> list[str]:
    """The words before the command that make another process speak of the same databases."""
    given = {"--config": options.config, "--host": options.host}
    if options.database is not None:
        given = {"--database": os.path.abspath(options.database), "--repository": os.path.abspath(options.repository)}
        given["--host"] = options.host
    return [word for key, value in given.items() if value is not None for word in (key, value)]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="litekeep", description="Verified backups of SQLite databases, and their restore.", epilog=EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"litekeep {__version__}")
    parser.add_argument("--config", metavar="FILE", help=f"the configuration (default: {DEFAULT_PATH})")
    parser.add_argument("--database", metavar="PATH", help="a database, instead of a configuration")
    parser.add_argument("--repository", metavar="DIR", help="where its backups are")
    parser.add_argument("--host", metavar="NAME", help="whose backups (default: the configuration's, or this host)")
    every = _Parser(add_help=False)
    every.add_argument("--json", action="store_true", help="answer in JSON on standard output")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

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
    command("list", "List backups.")
    command("status", "Say how databases are protected, and what is wrong.")
    restore = command("restore", "Restore a database in its place, or to another path.", name_needed=True)
    restore.add_argument(
        "--to", metavar="latest|TIME|ID", default="latest", help="which state (default: the newest that is proven)"
    )
    restore.add_argument("--nearest", action="store_true", help="if TIME cannot be restored, the moment before it")
    restore.add_argument("--timeline", metavar="ID", help="only this timeline, where the clock was set back")
    restore.add_argument("--target", metavar="PATH", help="another path, which must be free")
    how = restore.add_mutually_exclusive_group()
    how.add_argument("--prepare", action="store_true", help="only build and prove beside the target")
    how.add_argument("--rollback", action="store_true", help="put back what the last restore replaced")
    how.add_argument("--discard", action="store_true", help="give up what --prepare built")
    restore.add_argument("--plan", action="store_true", help="say what would be done, change nothing")
    command("archive", "Keep every commit, until stopped: point-in-time recovery.", name_needed=True)
    config = commands.add_parser("config", help="Print the configuration as it is understood.", parents=[every])
    config.set_defaults(name=None)
    return parser
