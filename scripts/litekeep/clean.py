# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The newest restore point that is a sound database: where damage went through the WAL, it is in the archive, too."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from .config import Database
from .errors import LitekeepError, NoRestorePointError, VerificationError
from .moments import windows
from .progress import Progress
from .repository import Repository
from .restore import Plan, Restored, plan, prepare
from .timefmt import to_text

# How far before the end of the archive it is tried again: each try is a restore with its check.
_BACK = (1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600)
# Then, between a sound state and a damaged one: exact where at most 255 commits lie between them.
_CLOSER = 8


def prepare_clean(
    repository: Repository, database: Database, progress: Progress, target: str | None = None
) -> tuple[Plan, Restored, list[str]]:
    """Build and prove the newest state that passes its checks. Also, why newer ones do not.

    Damage that came through the WAL stays: so a sound state is looked for backwards, in longer and longer steps, and
    then the last one before the damage. Raises NoRestorePointError when there is none, and what ``restore`` raises.
    """
    search = _Search(repository, database, progress, target)
    for to in search.candidates():
        if search.is_clean(to):
            break
    else:
        raise NoRestorePointError(
            f"There is no clean restore point of {database.name}",
            expected="a backup or a moment that passes integrity_check",
            found="; ".join(search.refused) or "no restore point at all",
            safe="nothing was changed",
            next_step=f"read out what can be read: litekeep repair {database.name} --method salvage --target FILE",
        )
    search.come_closer()
    return (*search.result(), search.refused)


class _Search:
    """clean, damaged: the newest state known to be sound, the oldest known not to be. refused: in words."""

    def __init__(self, repository: Repository, database: Database, progress: Progress, target: str | None) -> None:
        self.repository = repository
        self.database = database
        self.progress = progress
        self.target = target
        self.refused: list[str] = []
        self.tried: dict[str, bool] = {}
        self.clean: Plan | None = None
        self.damaged: Plan | None = None
        self.built: tuple[str, Restored] | None = None

    def candidates(self) -> Iterator[str]:
        """From the newest state back, in longer and longer steps; then every backup."""
        yield "latest"
        try:
            end = plan(self.repository, self.database, "latest", self.target, nearest=True).point.recovered
        except (NoRestorePointError, VerificationError):
            end = None
        if end is not None:
            for seconds in _BACK:
                yield to_text(end - dt.timedelta(seconds=seconds))
        for backup in reversed(self.repository.catalogue(self.database.name).restore_points):
            yield backup.id

    def is_clean(self, to: str) -> bool:
        """Build and check that state; it stands ready then. Each state is built once."""
        try:
            chosen = plan(self.repository, self.database, to, self.target, nearest=True)
        except NoRestorePointError:
            return False
        except VerificationError as problem:
            self._refuse(f"{to}: ", problem)
            return False
        state = chosen.point.id
        if state not in self.tried:
            try:
                self.built = state, prepare(self.repository, self.database, chosen, self.progress)
                self.tried[state] = True
            except VerificationError as problem:
                self.built = None
                self.tried[state] = False
                self._refuse(f"{state}, the state of {to_text(chosen.point.recovered)}: ", problem)
        if self.tried[state]:
            self.clean = chosen
        elif self.damaged is None or chosen.point.recovered <= self.damaged.point.recovered:
            self.damaged = chosen
        return self.tried[state]

    def _refuse(self, label: str, problem: LitekeepError) -> None:
        self.refused.append(label + ("; ".join(dict.fromkeys(problem.found.split("; "))) or problem.what))

    def come_closer(self) -> None:
        """Halve what lies between the sound state and the damaged one, some times."""
        for _turn in range(_CLOSER):
            between = self._between()
            if not between or not self._halve(between):
                return

    def _halve(self, between: list[str]) -> bool:
        """Whether something was learned."""
        before = len(self.tried)
        self.is_clean(between[len(between) // 2])
        return len(self.tried) > before

    def _between(self) -> list[str]:
        """The commits that can be restored and of which nothing is known yet, in order."""
        if self.clean is None or self.damaged is None:
            return []
        after, before = (chosen.point.observed or chosen.point.recovered for chosen in (self.clean, self.damaged))
        timelines = self.repository.timelines(self.database.name)
        return [
            state
            for window in windows(self.repository.catalogue(self.database.name), timelines)
            for segment in window.run.segments
            for mark in segment.marks()
            for state in [f"{window.timeline.id}@{mark.position.round}.{mark.position.frame}"]
            if after <= mark.observed <= before and mark.position >= window.bases[0][0] and state not in self.tried
        ]

    def result(self) -> tuple[Plan, Restored]:
        """The newest sound state, ready in the workspace."""
        if self.clean is None:
            raise AssertionError("there is no sound state")
        state = self.clean.point.id
        if self.built is None or self.built[0] != state:
            self.built = state, prepare(self.repository, self.database, self.clean, self.progress)
        return self.clean, self.built[1]
