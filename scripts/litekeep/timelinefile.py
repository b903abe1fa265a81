# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading a timeline from the archive, and finding out what of it is whole and continuous.

``timeline.jsonl`` holds a line per record. A line ends with its checksum (SHA-256 of the line's bytes before it)
and names the checksum of the line before. ``heartbeat.json`` says up to when no further commit is known.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .store import Stored
from .timefmt import from_text
from .timeline import (
    FORMAT,
    HEARTBEAT,
    RECORDS,
    SUFFIX,
    VERSION,
    Position,
    Run,
    Salts,
    Segment,
    Timeline,
    file_name,
    partial_name,
    unseal,
)


def timeline_number(folder: str) -> int:
    """The number in the first record; 0 when that is damaged."""
    try:
        with open(os.path.join(folder, RECORDS), "rb") as stream:
            return int(unseal(stream.readline())[0]["number"])
    except (OSError, ValueError, KeyError):
        return 0


def read_timeline(folder: str) -> Timeline:
    """Read one timeline with everything that can be found without reading the segments themselves.

    Never fails because of damage: that is in ``problems``. The state is left to the caller.
    """
    timeline = _read(folder)
    for _attempt in range(2):
        if not timeline.problems:
            break
        # A round may have been ended and merged while it was read.
        timeline = _read(folder)
    return timeline


def _read(folder: str) -> Timeline:
    try:
        # In this order a timeline that is being written is never taken for a damaged one: a segment's record is
        # written before its file gets its name, and the heartbeat after both.
        listed_before = set(os.listdir(folder))
        heartbeat = _heartbeat(folder)
        records, problems = _records(os.path.join(folder, RECORDS))
        if not records or records[0][0].get("kind") != "start":
            raise ValueError("; ".join(problems) or f"{folder}/{RECORDS} has no first record")
        form = records[0][0]["format"]
        if form != {"name": FORMAT, "version": VERSION}:
            raise ValueError(f"{folder} has the format {form}: upgrade Litekeep on this host (playbook install.yml)")
        return _assembled(folder, records, problems, heartbeat, listed_before)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as problem:
        # Everything inside carries a checksum: what still cannot be understood was never whole.
        return _unreadable(folder, str(problem))


def _unreadable(folder: str, problem: str) -> Timeline:
    never = dt.datetime.fromtimestamp(0, dt.timezone.utc)
    name = os.path.basename(folder)
    return Timeline(name, folder, 0, never, "", {}, (), never, "", (problem,), 0, "", "", 0)


def _records(path: str) -> tuple[list[tuple[dict[str, Any], str]], list[str]]:
    """All whole records with their checksums. One that does not follow the record before it carries ``broken``."""
    records: list[tuple[dict[str, Any], str]] = []
    problems: list[str] = []
    bad: list[int] = []
    with open(path, "rb") as stream:
        lines = stream.readlines()
    # A last line without its end is one that a crash tore: it never counted.
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    for number, line in enumerate(lines, 1):
        try:
            values, checksum = unseal(line)
        except ValueError:
            bad.append(number)
            continue
        if values.get("previous") != (records[-1][1] if records else None):
            values["broken"] = True
            problems.append(f"{path} is damaged before line {number}")
        # Where the chain holds, a bad line before is one that a crash tore.
        bad.clear()
        records.append((values, checksum))
    if bad:
        problems.append(f"{path} is damaged at line {bad[0]}")
    return records, problems


def recorded(folder: str) -> list[Segment]:
    """All segments that the records speak of, whether their files are there or not. Raises ValueError, OSError."""
    try:
        records, _problems = _records(os.path.join(folder, RECORDS))
        return _segments(folder, [values for values, _checksum in records if values["kind"] == "segment"])
    except (KeyError, TypeError, IndexError, AttributeError) as problem:
        raise ValueError(f"{folder}/{RECORDS} cannot be understood: {problem!r}") from problem


def _heartbeat(folder: str) -> dict[str, Any]:
    """What the heartbeat says; nothing when it is missing or damaged (then ``damage`` says so)."""
    try:
        with open(os.path.join(folder, HEARTBEAT), "rb") as stream:
            return unseal(stream.read())[0]
    except FileNotFoundError:
        return {}
    except ValueError:
        return {"damage": f"{os.path.join(folder, HEARTBEAT)} is damaged"}


def _assembled(
    folder: str,
    records: Sequence[tuple[dict[str, Any], str]],
    problems: list[str],
    heartbeat: Mapping[str, Any],
    listed_before: set[str],
) -> Timeline:
    first = records[0][0]
    started = from_text(first["started"])
    segments = _segments(folder, [values for values, _checksum in records if values["kind"] == "segment"])
    sizes = _sizes(folder)
    whole: list[Segment] = []
    continuous = True
    for segment in segments:
        problem = _missing(segment, sizes)
        if problem:
            problems.append(problem)
            continuous = False
        else:
            follows = continuous and segment.continuous and _follows(segment, whole[-1] if whole else None)
            whole.append(segment if follows == segment.continuous else replace(segment, continuous=follows))
            continuous = True
    sequence = int(records[-1][0]["sequence"])
    problems += _unrecorded(folder, segments, listed_before)
    if "damage" in heartbeat:
        problems.append(str(heartbeat["damage"]))
    elif heartbeat and heartbeat["record"] not in [checksum for _values, checksum in records]:
        problems.append(f"{folder}/{RECORDS} lacks records that the heartbeat knows: number {heartbeat['sequence']}")
    current = not problems and heartbeat.get("record") == records[-1][1]
    until = segments[-1].observed if segments else started
    if current:
        until = max(until, from_text(heartbeat["until"]))
    empty = _salts_list(heartbeat.get("empty", [])) if current else ()
    # What the WAL held already when the timeline began, nobody saw come.
    since = started if first["empty"] else None
    runs = _runs(str(first["timeline"]), whole, since, until if continuous else None, empty)
    return Timeline(
        id=str(first["timeline"]),
        folder=folder,
        number=int(first["number"]),
        started=started,
        reason=str(first["reason"]),
        source=first["source"],
        runs=runs,
        until=runs[-1].until if runs else until,
        state="",
        problems=tuple(problems),
        sequence=sequence,
        last=records[-1][1],
        trouble=str(heartbeat.get("trouble", "")),
        stored_size=sum(segment.stored.stored_size for segment in whole),
        follows=str(first.get("follows", "")),
    )


def _runs(
    timeline: str,
    segments: Sequence[Segment],
    since: dt.datetime | None,
    until: dt.datetime | None,
    empty: tuple[Salts, ...],
) -> tuple[Run, ...]:
    """Cut at the breaks.

    since: the moment from which on the state before the first segment was seen, None when it was not. until: the end
    of the last run, None where what follows its last segment is damaged.
    """
    groups: list[list[Segment]] = [[]]
    for segment in segments:
        if not segment.continuous:
            groups.append([])
        groups[-1].append(segment)
    runs = []
    for number, group in enumerate(groups):
        last = number == len(groups) - 1
        if group:
            start = Position(group[0].round, group[0].first - 1)
            begun = since if since and number == 0 else next(group[0].marks()).observed
            end = group[-1].observed
            runs.append(Run(timeline, tuple(group), start, begun, max(end, until or end) if last else end,
                            empty if last and until else ()))  # fmt: skip
        elif since and until and last and number == 0:
            runs.append(Run(timeline, (), Position(1, 0), since, until, empty))
    return tuple(runs)


def segment_from(folder: str, values: Mapping[str, Any], merged: str = "", offset: int = 0) -> Segment:
    """The segment that a record describes. merged, offset: its place in the file of its round, once that is merged."""
    begun = from_text(values["begun"])
    marks = str(values["marks"])
    observed = begun + dt.timedelta(milliseconds=int(marks.split()[-1].split(",")[1]))
    return Segment(
        folder=folder,
        sequence=int(values["sequence"]),
        round=int(values["round"]),
        first=int(values["first"]),
        last=int(values["last"]),
        salts=(values["salts"][0], values["salts"][1]),
        before=_salts_list(values.get("before", [])),
        page_size=int(values["page_size"]),
        pages=int(values["pages"]),
        last_frame=str(values["last_frame"]),
        commits=int(values["commits"]),
        begun=begun,
        observed=observed,
        marks_text=marks,
        stored=Stored(
            file_name(int(values["round"]), int(values["first"]), int(values["last"])),
            int(values["size"]),
            str(values["sha256"]),
            int(values["stored_size"]),
            str(values["stored_sha256"]),
        ),
        merged=merged,
        offset=offset,
        continuous=not values.get("broken"),
    )


def _salts_list(values: Any) -> tuple[Salts, ...]:
    return tuple((int(pair[0]), int(pair[1])) for pair in values)


def _segments(folder: str, records: Sequence[Mapping[str, Any]]) -> list[Segment]:
    """Each with its place in the merged file of its round: there the parts stand one after the other."""
    merged = {values["round"]: values["last"] for values in records}
    merged = {number: file_name(int(number), 1, int(last)) for number, last in merged.items()}
    offsets: dict[int, int] = {}
    found = []
    for values in records:
        offset = offsets.get(values["round"], 0)
        found.append(segment_from(folder, values, merged[values["round"]], offset))
        offsets[values["round"]] = offset + found[-1].stored.stored_size
    return found


def _follows(segment: Segment, previous: Segment | None) -> bool:
    if previous is None:
        return segment.sequence == 1 and segment.first == 1
    same_round = segment.round == previous.round and segment.first == previous.last + 1
    next_round = segment.round == previous.round + 1 and segment.first == 1
    return segment.sequence == previous.sequence + 1 and (same_round or next_round)


def _sizes(folder: str) -> dict[str, int]:
    """File sizes by name."""
    sizes: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                sizes[entry.name] = entry.stat().st_size
    return sizes


def _missing(segment: Segment, sizes: Mapping[str, int]) -> str:
    """What is wrong with the segment's file; empty when nothing is."""
    path = os.path.join(segment.folder, segment.name)
    if segment.name != segment.merged and segment.name in sizes:
        return _wrong_size(path, sizes[segment.name], segment.stored.stored_size)
    if segment.merged in sizes:
        needed = segment.offset + segment.stored.stored_size
        found = sizes[segment.merged]
        if found < needed or (segment.merged == file_name(segment.round, 1, segment.last) and found != needed):
            return _wrong_size(os.path.join(segment.folder, segment.merged), found, needed)
        return ""
    if sizes.get(partial_name(segment.round, segment.first)) == segment.stored.stored_size:
        return ""
    return f"the segment {path} is missing"


def _wrong_size(path: str, found: int, expected: int) -> str:
    return "" if found == expected else f"the segment {path} has {found} bytes instead of {expected}"


def _unrecorded(folder: str, segments: Sequence[Segment], listed: set[str]) -> list[str]:
    """Segments that stand there and in no record: then the last records are gone."""
    known = {segment.name for segment in segments} | {segment.merged for segment in segments}
    return [
        f"the segment {os.path.join(folder, name)} is in no record: the records were cut short"
        for name in sorted(listed)
        if name.endswith(SUFFIX) and not name.startswith(".") and name not in known
    ]
