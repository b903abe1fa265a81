# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commands about what stays and what goes: words in, answers out."""

from __future__ import annotations

from . import retentionanswers, retentionrender
from .run import Run
from .timefmt import parse_duration


class RetentionCommands(Run):
    """prune, pin, unpin, hold, release."""

    def run_prune(self) -> int:
        """``prune [NAME]``"""
        options = self.options
        if options.plan is not None:
            self.one()
        if options.simulate is not None:
            seconds = parse_duration(options.simulate, "--simulate")
            every = None if options.every is None else parse_duration(options.every, "--every")
            return self.each(
                lambda database: retentionanswers.simulation(self.repository, database, seconds, every),
                retentionrender.simulation,
            )
        return self.each(
            lambda database: retentionanswers.pruned(
                self.repository, database, self.progress, options.dry_run, options.plan
            ),
            retentionrender.pruned,
        )

    def run_pin(self, undo: bool = False) -> int:
        """``pin NAME BACKUP``"""
        self.one()
        return self.each(
            lambda database: retentionanswers.pin(
                self.repository, database, self.options.backup, "" if undo else self.options.reason, undo
            ),
            retentionrender.pinned,
        )

    def run_unpin(self) -> int:
        """``unpin NAME BACKUP``"""
        return self.run_pin(undo=True)

    def run_hold(self) -> int:
        """``hold NAME HOLD``"""
        options = self.options
        self.one()
        return self.each(
            lambda database: retentionanswers.hold(
                self.repository, database, options.hold, options.start, options.end, options.reason
            ),
            retentionrender.pinned,
        )

    def run_release(self) -> int:
        """``release NAME HOLD``"""
        self.one()
        return self.each(
            lambda database: retentionanswers.release(self.repository, database, self.options.hold),
            retentionrender.pinned,
        )
