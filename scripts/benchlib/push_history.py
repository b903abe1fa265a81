# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A history as long as wanted, without waiting for it: the records of a timeline that is sealed, and what comes next.

Of rounds that are over there are only files of the right sizes: ``seal`` does not read them again. All else is real.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from litekeep.outbound import piece_name
from litekeep.store import packed
from litekeep.timefmt import to_text
from litekeep.timeline import FORMAT, RECORDS, VERSION, file_name, seal

from .place import NAME

TIMELINE = "20260101T000000.000Z"
BEGUN = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
PAGE, FRAME_HEADER = 4096, 24
FRAMES, STORED = 24, 6000  # of a segment: a second of an application with two commits
ROUND = 64_000_000 // (FRAMES * (PAGE + FRAME_HEADER))  # segments in a round, by default


def make(folder: Path, records: int, more: int) -> None:
    """A host's folder on a server with ``records`` sealed segments, and ``more`` in ``.incoming``."""
    sealed = folder / NAME / "archive" / TIMELINE
    inbox = folder / ".incoming" / NAME / "archive" / TIMELINE
    inbox.mkdir(parents=True)
    lines = list(_lines(records, more))
    # The first one is of the timeline, the next one of segment 0.
    old, new = b"".join(lines[: records + 1]), b"".join(lines[records + 1 :])
    if records:
        sealed.mkdir(parents=True)
        (sealed / RECORDS).write_bytes(old)
        _files(sealed, records)
    start, content = (len(old), new) if records else (0, old + new)
    _batches(inbox, records, more)
    (inbox / piece_name(start, start + len(content))).write_bytes(packed(content))


def _is_over(number: int, records: int) -> bool:
    """Whether the segment is of a round that is sealed and merged: nobody reads it again."""
    return number < records - records % ROUND


def _files(sealed: Path, records: int) -> None:
    for number in range(0, records, ROUND):
        if _is_over(number, records):
            merged = sealed / file_name(number // ROUND + 1, 1, ROUND * FRAMES)
            merged.touch()
            os.truncate(merged, STORED * ROUND)
    for number in range(records - records % ROUND, records):
        _write(sealed, [number])


def _write(folder: Path, group: list[int]) -> None:
    """One file of segments that follow each other in a round."""
    first, last = group[0] % ROUND, group[-1] % ROUND
    name = file_name(group[0] // ROUND + 1, first * FRAMES + 1, (last + 1) * FRAMES)
    (folder / name).write_bytes(b"".join(map(_content, group)))


def _batches(inbox: Path, records: int, more: int) -> None:
    """As a push sends them: one for each round."""
    groups: dict[int, list[int]] = {}
    for number in range(records, records + more):
        groups.setdefault(number // ROUND, []).append(number)
    for group in groups.values():
        _write(inbox, group)


def _content(number: int) -> bytes:
    return hashlib.shake_128(str(number).encode()).digest(STORED)


def _lines(records: int, more: int) -> Iterator[bytes]:
    previous = None
    first = {
        "kind": "start",
        "format": {"name": FORMAT, "version": VERSION},
        "sequence": 0,
        "timeline": TIMELINE,
        "number": 1,
        "started": to_text(BEGUN),
        "reason": "measured",
        "source": {},
        "empty": True,
    }
    line, previous = seal({**first, "previous": previous})
    yield line
    unread = hashlib.sha256(b"segment").hexdigest()
    for number in range(records + more):
        at = number % ROUND
        values = {
            "kind": "segment",
            "sequence": number + 1,
            "round": number // ROUND + 1,
            "first": at * FRAMES + 1,
            "last": (at + 1) * FRAMES,
            "salts": [number // ROUND + 1, 1],
            "page_size": PAGE,
            "pages": 1000,
            "last_frame": unread,
            "commits": 2,
            "begun": to_text(BEGUN + dt.timedelta(seconds=number)),
            "marks": f"0,500,{at * FRAMES + FRAMES // 2} 500,1000,{(at + 1) * FRAMES}",
            "size": FRAMES * (PAGE + FRAME_HEADER),
            "sha256": unread,
            "stored_size": STORED,
            "stored_sha256": unread if _is_over(number, records) else hashlib.sha256(_content(number)).hexdigest(),
        }
        line, previous = seal({**values, "previous": previous})
        yield line
