# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commands about rows and damage: words in, answers out."""

from __future__ import annotations

from . import dataanswers, datarender
from .config import DEFAULT_LEVEL
from .errors import UsageError
from .export import Request
from .importer import Order
from .run import Run
from .timefmt import parse_duration
from .triage import SOUND
from .undelete import Wish


class DataCommands(Run):
    """export, import, undelete, commits, triage, repair."""

    def run_export(self) -> int:
        """``export NAME``"""
        options = self.options
        self.one()
        if self.as_json and options.output is None:
            raise UsageError("--json and rows cannot share standard output", next_step="add --output FILE")
        request = Request(
            table=options.table,
            at=options.at,
            nearest=options.nearest,
            start=options.start,
            end=options.end,
            column=options.time_column,
            unit=options.time_unit,
            format=options.format,
            level=DEFAULT_LEVEL if options.zstd else None,
            plain=options.plain,
        )
        if options.since is None:
            return self.each(
                lambda database: dataanswers.export_answer(
                    self.repository, database, request, options.output, self.progress
                ),
                datarender.exported,
            )
        if options.output is None or options.table or options.start or options.end:
            raise UsageError("--since exports all tables, into a folder", next_step="add --output FOLDER, and no range")
        return self.each(
            lambda database: dataanswers.since_answer(
                self.repository, database, options.since, options.output, request, self.progress
            ),
            datarender.exported,
        )

    def run_import(self) -> int:
        """``import NAME FILE``"""
        options = self.options
        self.one()
        order = Order(
            paths=tuple(options.files),
            table=options.table,
            conflict=options.conflict,
            create=options.create,
            triggers=options.triggers,
            foreign_keys=options.foreign_keys == "check",
            dry_run=options.dry_run,
        )
        return self.each(
            lambda database: dataanswers.import_answer(database, order, self.progress), datarender.imported
        )

    def run_undelete(self) -> int:
        """``undelete NAME --to TIME``"""
        options = self.options
        self.one()
        wish = Wish(
            to=options.to,
            tables=tuple(options.table or ()),
            nearest=options.nearest,
            triggers=options.triggers,
            foreign_keys=options.foreign_keys == "check",
            dry_run=options.dry_run,
        )
        return self.each(
            lambda database: dataanswers.undelete_answer(self.repository, database, wish, self.progress),
            datarender.undeleted,
        )

    def run_commits(self) -> int:
        """``commits NAME --around TIME``"""
        self.one()
        around, within = self.options.around, parse_duration(self.options.within, "--within")
        return self.each(
            lambda database: dataanswers.commits_answer(self.repository, database, around, within, self.progress),
            datarender.commits,
        )

    def run_triage(self) -> int:
        """``triage NAME``"""
        self.one()
        return self.each(
            lambda database: dataanswers.triage_answer(self.repository, database, self.progress),
            datarender.triaged,
            lambda answer: 0 if answer["damage"] == SOUND else 3,
        )

    def run_repair(self) -> int:
        """``repair NAME --method``"""
        options = self.options
        self.one()
        return self.each(
            lambda database: dataanswers.repair_answer(
                self.repository, database, options.method, options.target, self.progress
            ),
            datarender.repaired,
        )
