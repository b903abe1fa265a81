# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The ``litekeep`` command: words in, an answer out, an exit code that scripts can rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import NoReturn

from . import answers, render
from .archive import Archiver
from .auditcommands import AuditCommands
from .datacommands import DataCommands
from .drillcommands import DrillCommands
from .errors import LitekeepError
from .progress import Progress, for_stream
from .remoteanswers import known_remotes
from .remotecommands import RemoteCommands
from .retentioncommands import RetentionCommands
from .run import context_words, say, say_now, tell_error
from .timefmt import parse_duration
from .words import parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; never raises a LitekeepError."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    progress = Progress()
    command = ""
    try:
        options = parser().parse_args(words)
        command = options.command
        if not as_json:
            progress = for_stream()
        signal.signal(signal.SIGTERM, _terminated)
        code = _Run(options, progress, as_json).command()
        sys.stdout.flush()
        return code
    except LitekeepError as problem:
        progress.close()
        tell_error(problem, command, as_json)
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


class _Run(DataCommands, RemoteCommands, RetentionCommands, DrillCommands, AuditCommands):
    """All commands."""

    def run_backup(self) -> int:
        """``backup NAME``"""
        max_age = self.options.max_age
        limit = None if max_age is None else parse_duration(max_age, "--max-age")
        return self.each(
            lambda database: answers.backup(self.repository, database, self.progress, limit), render.backup
        )

    def run_verify(self) -> int:
        """``verify [NAME]``"""
        if self.options.live:
            return self.each(answers.verify_live, render.verify_live, lambda answer: 0 if answer["passed"] else 3)
        return self.each(
            lambda database: answers.verify(
                self.repository, database, self.progress, self.options.backup, self.options.all
            ),
            render.verify,
            lambda answer: 0 if answer["passed"] else 3,
        )

    def run_list(self) -> int:
        """``list [NAME]``"""
        if self.options.remote is not None:
            return self.list_from(self.options.remote)
        return self.each(lambda database: answers.listing(self.repository, database.name), render.catalogue)

    def run_status(self) -> int:
        """``status [NAME]``"""
        return self.each(
            lambda database: answers.status(self.repository, database, known_remotes(self.config, database)),
            render.status,
            lambda answer: int(str(answer["exit_code"])),
        )

    def run_restore(self) -> int:
        """``restore NAME``"""
        options = self.options
        self.one()
        if options.discard:
            return self.each(lambda database: answers.discard(database, options.target, options.plan), render.restore)
        if options.rollback:
            return self.each(
                lambda database: answers.rollback(database, self.progress, options.target, options.plan),
                render.restore,
            )
        action = "plan" if options.plan else "prepare" if options.prepare else "restore"
        if options.remote is not None:
            return self.restore_from(options.remote, action)
        return self.each(
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
        database = self.one()
        words = [sys.executable, "-m", __package__, *context_words(self.options), "backup", database.name]
        environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}

        def start_backup() -> subprocess.Popen[bytes]:
            return subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

        archiver = Archiver(self.repository, database, start_backup, lambda line: say_now(f"{database.name}: {line}"))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_arguments: archiver.stop.set())
        archiver.run()
        return 0

    def run_config(self) -> int:
        """``config``: print the configuration as it was understood, in the form of the file."""
        say(json.dumps(asdict(self.config), indent=2))
        return 0
