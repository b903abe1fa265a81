# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Answers about places off the host for people. See ``render``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import render
from .render import error_lines, point_lines
from .timefmt import size_text

Values = dict[str, Any]


def pushed(answer: Values) -> Iterable[str]:
    """A line per remote."""
    for sent in answer["remotes"]:
        parts = [f"the backup {backup}" for backup in sent["backups"]]
        parts += [f"{sent['segments']:,} segments of the archive"] * bool(sent["segments"])
        what = ", ".join(parts) or "nothing new"
        if sent["error"] is None or parts:
            yield f"{answer['database']}: {sent['remote']}: {what} ({size_text(sent['size'])})"
        if sent["error"]:
            yield from _error(answer["database"], sent)


def _error(database: str, sent: Values) -> Iterable[str]:
    yield f"{database}: {sent['remote']}: FAILED: {sent['error']['message']}"
    yield from error_lines(sent["error"])


def pulled(answer: Values) -> Iterable[str]:
    """What was brought, and how to use it."""
    name, into = answer["database"], answer["path"]
    yield from _passed_over(answer)
    yield f"{name}: what {answer['point']['id']} needs was brought from {answer['remote']} into {into}"
    yield from point_lines(answer["point"])
    yield f"  next      litekeep restore {name} with --repository {into} --to {answer['point']['id']}"


def restored(answer: Values) -> Iterable[str]:
    """As a restore says it, and where it came from."""
    yield from _passed_over(answer)
    yield from render.restore(answer)
    yield f"  from      the remote {answer['remote']}"


def _passed_over(answer: Values) -> Iterable[str]:
    for words in answer["passed_over"]:
        yield f"{answer['database']}: passed over {words}"


def sealed(answer: Values) -> Iterable[str]:
    """Only what is news."""
    name = f"{answer['host']}/{answer['database']}"
    for backup in answer["backups"]:
        yield f"{name}: the backup {backup} is proven and sealed"
    if answer["segments"]:
        yield f"{name}: {answer['segments']:,} segments of the archive are proven and sealed"
    for words in answer["refused"]:
        yield f"{name}: REFUSED: {words}"
    if answer["error"]:
        yield f"  next      {answer['error']['next']}"
