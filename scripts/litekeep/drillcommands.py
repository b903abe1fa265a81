# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command ``drill``: words in, answers out."""

from __future__ import annotations

from . import drillanswers, drillrender
from .run import Run


class DrillCommands(Run):
    """drill."""

    def run_drill(self) -> int:
        """``drill [NAME]``"""
        options = self.options
        which = drillanswers.ALL if options.all else drillanswers.RANDOM if options.random else options.to
        return self.each(
            lambda database: drillanswers.drilled(
                self.repository, database, self.progress, which or drillanswers.DUE, options.dry_run
            ),
            drillrender.drilled,
            lambda answer: int(str(answer["exit_code"])),
        )
