# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commands about places off the host: words in, answers out."""

from __future__ import annotations

import os
import signal
import sys

from . import remoteanswers, remoterender, render
from .pull import Choice
from .pushservice import Pusher
from .remoteanswers import remotes_of
from .run import Run, Values, say, say_now
from .seal import Sealed
from .sealrun import SealRun
from .timefmt import parse_size


class RemoteCommands(Run):
    """push, pull, seal; list and restore out of a remote."""

    def run_push(self) -> int:
        """``push NAME``"""
        if self.options.follow:
            return self._follow()
        return self.each(
            lambda database: remoteanswers.push(
                self.repository, database, remotes_of(self.config, database, self.options.remote), self.progress
            ),
            remoterender.pushed,
            lambda answer: 9 if answer["error"] else 0,
        )

    def _follow(self) -> int:
        """Until a signal ends it."""
        database = self.one()
        pusher = Pusher(
            self.repository,
            database,
            remotes_of(self.config, database, self.options.remote),
            lambda line: say_now(f"{database.name}: {line}"),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_arguments: pusher.stop.set())
        pusher.run()
        return 0

    def run_pull(self) -> int:
        """``pull NAME --into DIR``"""
        self.one()
        into = os.path.abspath(self.options.into)
        return self.each(
            lambda database: remoteanswers.pull(
                self.repository,
                database,
                remotes_of(self.config, database, self.options.remote),
                self._choice(),
                into,
                self.progress,
            ),
            remoterender.pulled,
        )

    def _choice(self) -> Choice:
        return Choice(self.options.to, self.options.nearest, self.options.timeline)

    def list_from(self, remote: str) -> int:
        """``list NAME --from REMOTE``"""
        return self.each(
            lambda database: remoteanswers.listing_from(
                self.repository, database, remotes_of(self.config, database, remote)[0]
            ),
            render.catalogue,
        )

    def restore_from(self, remote: str, action: str) -> int:
        """``restore NAME --from REMOTE``"""
        return self.each(
            lambda database: remoteanswers.restore_from(
                self.repository,
                database,
                remotes_of(self.config, database, remote),
                self._choice(),
                self.options.target,
                action,
                self.progress,
            ),
            remoterender.restored,
        )

    def run_seal(self) -> int:
        """``seal``: on a backup server, for every host that has sent something."""
        reserve = parse_size(self.options.reserve, "--reserve")
        limit = parse_size(self.options.limit, "--limit")
        found: list[Values] = []
        worst = 0

        def tell(host: str, done: Sealed) -> None:
            nonlocal worst
            answer = remoteanswers.sealed(host, done)
            worst = max(worst, 7 if done.full else 3 if done.refused else 0)
            if self.as_json:
                found.append(answer)
                return
            for line in remoterender.sealed(answer):
                say(line)
            sys.stdout.flush()

        SealRun(self.repository.root, reserve, limit, tell).run()
        self.told(found, remoterender.sealed, lambda _answer: worst)
        return worst
