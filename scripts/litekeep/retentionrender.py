# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Answers about retention for people. See ``render``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .timefmt import duration_text, size_text

Values = dict[str, Any]


def pruned(answer: Values) -> Iterable[str]:
    """A line per item: what stays and what goes, and why."""
    if answer["action"] == "none":
        yield f"{answer['database']}: no retention, so everything stays"
        return
    going = [item for item in answer["items"] if not item["keep"]]
    did = "would be removed" if answer["action"] == "plan" else "removed"
    kept = len(answer["items"]) - len(going)
    yield f"{answer['database']}: {len(going)} {did} ({size_text(answer['freed'])}), {kept} kept; {answer['policy']}"
    for item in answer["items"]:
        word = "keep" if item["keep"] else "remove"
        kind = "timeline" if item["kind"] == "archive" else "backup"
        reasons = "; ".join(item["reasons"])
        yield f"  {word:<7} {kind:<9} {item['id']:<26} {size_text(item['size']):>10}  {reasons}"
    if answer["action"] == "plan" and going:
        yield f"  to do exactly this: litekeep prune {answer['database']} --plan {answer['plan']}"


def simulation(answer: Values) -> Iterable[str]:
    """A line per day."""
    if answer["action"] == "none":
        yield from pruned(answer)
        return
    yield f"{answer['database']}: with a backup every {duration_text(answer['every'])}; {answer['policy']}"
    for day in answer["days"]:
        oldest = day["oldest"] or "none"
        yield (
            f"  {day['day']}  {day['backups']:>5} backups  {size_text(day['size']):>10}  oldest {oldest}"
            f"  removed {day['removed']}"
        )


def pinned(answer: Values) -> Iterable[str]:
    """What stays whatever the rules say, or no longer does."""
    name, action = answer["database"], answer["action"]
    if action in ("pin", "unpin"):
        words = {("pin", True): "pinned", ("pin", False): "is pinned already"}
        words |= {("unpin", True): "left to the rules again", ("unpin", False): "was not pinned"}
        yield f"{name}: {answer['backup']} {words[action, answer['changed']]}"
    elif action == "hold":
        yield f"{name}: held as {answer['hold']}: what is needed from {answer['from']} to {answer['to']}"
    else:
        yield f"{name}: the hold {answer['hold']} {'is released' if answer['changed'] else 'was not there'}"
