# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Answers about drills for people. See ``render``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .render import error_lines
from .timefmt import duration_text, size_text

Values = dict[str, Any]


def drilled(answer: Values) -> Iterable[str]:
    """A line per drill, and one for each thing that is not as it should be."""
    if not answer["drills"] and not answer["error"]:
        yield f"{answer['database']}: would be drilled: {', '.join(answer['states'])}"
    for done in answer["drills"]:
        words = "restored and checked" if done["result"] == "passed" else "FAILED"
        yield (
            f"{answer['database']}: {done['point']} {words} in {duration_text(done['seconds'])} "
            f"({size_text(done['size'])}, {len(done['assertions'])} assertions)"
        )
        for problem in done["problems"]:
            yield f"  problem   {problem}"
        if done["in_time"] is False:
            yield f"  too slow  expected at most {duration_text(done['rto'])}"
        if done["problems"]:
            yield f"  next      litekeep verify {answer['database']} --all; then take a new backup"
    if answer["error"]:
        yield f"{answer['database']}: FAILED: {answer['error']['message']}"
        yield from error_lines(answer["error"])
