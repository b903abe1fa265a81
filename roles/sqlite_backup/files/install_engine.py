# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write one version of the engine on a host, whole or not at all.

usage: install_engine.py VERSIONS ID LINK [--check] < MODULES

MODULES is a JSON object {file name: text}. They go to VERSIONS/ID/litekeep. LINK is the engine in use: switching it is
left to the caller. A run says what it changed (or would change); it says nothing when everything stands as it should.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path


def modules_in(package: Path) -> dict[str, str | None]:
    """Name and text of each file; None instead of the text when others could write to the file."""
    found: dict[str, str | None] = {}
    for file in package.iterdir() if package.is_dir() else ():
        if file.name != "__pycache__":
            status = file.lstat()
            ours = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o022 and status.st_uid == os.geteuid()
            found[file.name] = file.read_text(encoding="utf-8", errors="replace") if ours else None
    return found


def difference(before: dict[str, str | None], after: dict[str, str]) -> str:
    """The changed modules by name: + new, ~ changed, - gone."""
    marks = {name: "-" if name not in after else "~" if name in before else "+" for name in {**before, **after}}
    return " ".join(mark + name for name, mark in sorted(marks.items()) if before.get(name) != after.get(name))


def write(version: Path, modules: dict[str, str]) -> None:
    """Build the version beside its place, flush it, move it there."""
    version.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=version.parent) as scratch:
        package = Path(scratch, "new", "litekeep")
        package.mkdir(parents=True)
        for name, text in modules.items():
            package.joinpath(name).write_text(text, encoding="utf-8")
        # The services cannot write here: without this they would compile the engine at every start.
        if not compileall.compile_dir(str(package), ddir=str(version / "litekeep"), quiet=1):
            sys.exit(f"Python {sys.version.split()[0]} cannot compile this engine. The one in use was left as it is.")
        for path in (package, *package.rglob("*")):
            flush(path)
        if version.exists():  # with other contents than its name says
            version.rename(Path(scratch, "old"))
        package.parent.rename(version)
    flush(version.parent)


def flush(path: Path) -> None:
    """Have a file or directory reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prune(versions: Path, keep: set[str]) -> None:
    """Remove old versions, and what an interrupted run left."""
    for entry in versions.iterdir():
        if entry.name not in keep and entry.is_dir():
            shutil.rmtree(entry)


def main(versions: Path, identity: str, link: Path, check: bool) -> None:
    modules = json.load(sys.stdin)
    version = versions / identity
    if modules_in(version / "litekeep") == modules:
        return
    print(f"engine {identity}: {difference(modules_in(link), modules) or 'made whole again'}")
    if not check:
        os.umask(0o022)
        write(version, modules)
        # The one still in use stays until the next upgrade: a backup may be running with it.
        prune(versions, {identity, link.resolve().parent.name})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:] == ["--check"])
