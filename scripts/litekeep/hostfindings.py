# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an audit finds on a host beside its databases: SQLite files that nobody protects, and another configuration."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence

from .config import Config, load_config
from .controls import COVERAGE, NOTICE, VERSION, WARNING, Finding
from .discover import Discovery, Found, discover
from .errors import LitekeepError
from .timefmt import duration_text, now, size_text

# One that was not changed for so long may be a forgotten copy.
_STILL = 30 * 86_400


def uncovered(config: Config, roots: Sequence[str], exempt: Collection[str]) -> Iterable[Finding]:
    """Databases below ``roots`` that nobody protects. exempt: see ``discover``."""
    if not roots:
        return
    look = discover(roots, [config.repository, *exempt])
    protected = set(_identities(database.path for database in config.databases.values()))
    for found in look.found:
        if (found.device, found.inode) not in protected:
            yield _unprotected(found)
    yield from _not_looked_at(look)


def _identities(paths: Iterable[str]) -> Iterable[tuple[int, int]]:
    for path in paths:
        try:
            looked = os.stat(path)
        except OSError:
            continue
        yield looked.st_dev, looked.st_ino


def _unprotected(found: Found) -> Finding:
    age = max(0.0, now().timestamp() - found.changed)
    what = f"{found.path} ({size_text(found.size)}, changed {duration_text(age)} ago) is backed up by nobody"
    severity = WARNING if age < _STILL else NOTICE
    remedy = "ansible-playbook install.yml (with it in sqlite_backup_databases, or in audit_exempt)"
    return Finding(COVERAGE, severity, what, remedy)


def _not_looked_at(look: Discovery) -> Iterable[Finding]:
    if not look.complete:
        yield Finding(COVERAGE, NOTICE, "there was not time to look for databases in all folders")
    if look.unreadable:
        what = f"{len(look.unreadable)} folders could not be looked into, for example {look.unreadable[0]}"
        yield Finding(COVERAGE, NOTICE, what, "sudo litekeep audit")


def drift(config: Config, installed: str) -> Iterable[Finding]:
    """Where ``installed``, the host's configuration file, says something else than ``config``, the inventory."""
    again = "ansible-playbook install.yml"
    try:
        there = load_config(installed)
    except LitekeepError as problem:
        what = f"nothing backs up this host's databases by itself: {problem.what[0].lower()}{problem.what[1:]}"
        yield Finding(VERSION, WARNING, what, again)
        return
    for name, database in config.databases.items():
        if name not in there.databases:
            yield Finding(VERSION, WARNING, f"{name} is in the inventory, and not in {installed}", again)
        elif there.databases[name] != database:
            yield Finding(VERSION, WARNING, f"{name} has another policy in {installed} than in the inventory", again)
