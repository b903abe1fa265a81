# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The working directory of a benchmark, and the commands that run in it, away from the user's own settings."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import measure
from .measure import Usage

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = ROOT / "scripts"
HOST, NAME = "bench", "events"  # as Litekeep calls them in its repository


class BenchError(Exception):
    """It cannot be measured. Says why, and what to do."""


class WrongResultError(BenchError):
    """One that was measured failed, or gave a wrong result."""


class Place:
    """A directory that holds the database and one directory for each kind of run."""

    def __init__(self, folder: Path, keeps: bool) -> None:
        self.folder = folder
        self.keeps = keeps
        self.pause = 0.0
        self.database = folder / f"{NAME}.db"
        self._logs = folder / "logs"
        self._logs.mkdir()

    def fresh(self, name: str) -> Path:
        """An empty directory in place of the last one of that name; nothing waits to be written any more.

        Then ``pause`` seconds pass: the writes that this took may have held up a writer.
        """
        folder = self.folder / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        os.sync()
        time.sleep(self.pause)
        return folder

    def drop(self, name: str) -> None:
        """Make room; where all is kept, the last of each name stays."""
        if not self.keeps:
            shutil.rmtree(self.folder / name)

    def log(self, name: str) -> Path:
        """Where the output of the run of that name goes."""
        return self._logs / f"{name}.log"

    def run(self, words: Sequence[str | Path], folder: Path, *, limit: float | None = None) -> Usage:
        """Measure a command in ``folder``, whatever becomes of it; ``limit`` in seconds."""
        return measure.run(
            [str(word) for word in words],
            folder=folder,
            environment=environment(self.folder),
            log=self.log(folder.name),
            limit=limit,
        )

    def must_run(self, words: Sequence[str | Path], folder: Path) -> Usage:
        """Measure a command that has to succeed, else WrongResultError with the end of its output."""
        usage = self.run(words, folder)
        if usage.exit_code:
            told = self.log(folder.name).read_text(errors="replace").strip()[-2000:]
            raise WrongResultError(f"{folder.name} ended with exit code {usage.exit_code}:\n{told}")
        return usage


@contextlib.contextmanager
def workplace(keep: Path | None, needed: int) -> Iterator[Place]:
    """A place with ``needed`` bytes of room: temporary, or the empty directory ``keep``, which stays."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="litekeep-bench-") as name:
            require_room(Path(name), needed)
            yield Place(Path(name), keeps=False)
        return
    keep = keep.absolute()
    if keep.is_symlink() or (keep.exists() and (not keep.is_dir() or any(keep.iterdir()))):
        raise BenchError(f"{keep} is not an empty directory: name another for --keep")
    keep.mkdir(parents=True, exist_ok=True)
    require_room(keep, needed)
    yield Place(keep, keeps=True)


def require_room(folder: Path, needed: int) -> None:
    """BenchError when the file system has less than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BenchError(
            f"{folder} has {free / 1e9:.1f} GB free, and this takes up to {needed / 1e9:.1f} GB: "
            "choose a smaller --size, or another place with TMPDIR=DIR or --keep DIR"
        )


def require_writable(path: Path | None) -> None:
    """BenchError when the file could not be written later. Does not touch it."""
    if path is not None and (path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK)):
        raise BenchError(f"{path} cannot be written: name a file in a directory that is there")


def environment(home: Path) -> dict[str, str]:
    """No .sqliterc, no ZSTD_CLEVEL, no other litekeep: everyone gets the same."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(SCRIPTS),
    }


def litekeep(repository: Path, database: Path, *words: str | Path) -> list[str | Path]:
    """The command line of Litekeep in this checkout."""
    return [
        *(sys.executable, "-m", "litekeep"),
        *("--database", database, "--repository", repository, "--host", HOST),
        *words,
    ]


def tree_size(folder: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
