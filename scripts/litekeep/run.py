# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One run of one command: which databases it is about, and how its answers are told."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace

from .config import DEFAULT_PATH, Config, Database, check_name, database_from, load_config
from .errors import LitekeepError, UsageError
from .progress import Progress
from .repository import Repository

Values = dict[str, object]


def say(text: str) -> None:
    """A line of the answer."""
    sys.stdout.write(text + "\n")


def say_now(text: str) -> None:
    """For the journal: as it happens."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def tell_error(problem: LitekeepError, command: str, as_json: bool) -> None:
    """The error, in the form that was asked for."""
    if as_json:
        say(json.dumps(_answer(command, [], problem.exit_code, problem.to_json()), indent=2))
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


class Run:
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

    def one(self) -> Database:
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

    def _databases(self) -> list[Database]:
        name = self.options.name
        if name is None:
            return [self.config.databases[key] for key in sorted(self.config.databases)]
        return [self.config.database(name)]

    def each(
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
                    tell_error(problem, self.options.command, False)
            found.append(answer)
            worst = worst or code
        if self.as_json:
            say(json.dumps(_answer(self.options.command, found, worst, first_error), indent=2))
        return worst

    def told(
        self, found: list[Values], words: Callable[[Values], Iterable[str]], verdict: Callable[[Values], int]
    ) -> int:
        """Tell answers that are there already; the worst code is the exit code."""
        worst = 0
        for answer in found:
            self._tell(words(answer))
            worst = worst or verdict(answer)
        if self.as_json:
            say(json.dumps(_answer(self.options.command, found, worst), indent=2))
        return worst

    def _tell(self, lines: Iterable[str]) -> None:
        self.progress.close()
        if not self.as_json:
            for line in lines:
                say(line)


def _configuration(options: argparse.Namespace) -> Config:
    """Out of ``--config``, out of ``--database`` and ``--repository``, or the host's own file.

    An audit of a repository needs none.
    """
    if getattr(options, "audited", None) is not None:
        return Config(os.path.abspath(options.audited), "")
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
