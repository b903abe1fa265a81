# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Answers for people: what happened, what is safe, what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .timefmt import duration_text, size_text

# Values come from answers.py; their form is the published schema.
Values = dict[str, Any]


def error_lines(error: Values) -> Iterable[str]:
    """What an error says beside its message."""
    for label in ("expected", "found", "safe", "next"):
        if label in error:
            yield f"  {label:<10}{error[label]}"


def backup(answer: Values) -> Iterable[str]:
    """One line, then where it is and how sure it is."""
    taken = answer["backup"]
    if not answer["changed"]:
        yield f"{answer['database']}: no backup needed; {answer['reason']}"
        yield f"  newest    {taken['id']}"
        return
    if not answer["seconds"]:
        yield f"{answer['database']}: a backup would be taken; {answer['reason']}"
        return
    checks = answer["checks"]
    percent = 100 * taken["stored_size"] / max(1, taken["size"])
    yield f"{answer['database']}: verified backup {taken['id']} in {duration_text(answer['seconds'])}"
    yield f"  source    {size_text(taken['size'])}, {_rows(taken['rows'])}"
    yield f"  stored    {taken['path']}, {size_text(taken['stored_size'])} ({percent:.0f} %)"
    yield (
        f"  checked   integrity ok ({checks['integrity']['seconds']:.1f} s), "
        f"foreign keys {checks['foreign_keys']['result']}, read back ok ({checks['read_back']['seconds']:.1f} s)"
    )
    yield from _warnings(taken)


def verify(answer: Values) -> Iterable[str]:
    """A line per backup."""
    for result in answer["results"]:
        words = "verified" if result["state"] == "verified" else f"{result['state'].upper()}: {result['problem']}"
        yield f"{answer['database']}: {result['backup']} {words} ({duration_text(result['seconds'])})"
        if not result["recorded"] and result["state"] in ("verified", "damaged"):
            yield "  warning   this outcome could not be written into the repository"
    for archive in answer["archive"]:
        words = f"DAMAGED: {archive['problem']}" if archive["problem"] else f"{archive['segments']} segments read"
        yield f"{answer['database']}: timeline {archive['timeline']} {words} ({duration_text(archive['seconds'])})"
    if not answer["passed"]:
        yield f"  safe      newest restore point: {answer['newest'] or 'none'}"
        yield f"  next      litekeep backup {answer['database']}, then check the disk below the repository"


def verify_live(answer: Values) -> Iterable[str]:
    """The live database's checks."""
    yield (
        f"{answer['database']}: the live database is {'sound' if answer['passed'] else 'DAMAGED'}: "
        f"integrity {answer['integrity']['result']}, foreign keys {answer['foreign_keys']['result']}"
    )
    for message in (answer["integrity"]["messages"] + answer["foreign_keys"]["messages"])[:10]:
        yield f"  found     {message}"


def catalogue(answer: Values) -> Iterable[str]:
    """A table of backups, newest last."""
    yield f"{answer['database']}: {answer['restore_points']} restore points in {len(answer['backups'])} backups"
    for item in answer["backups"]:
        size = size_text(item["size"]) if item["size"] is not None else "?"
        stored = size_text(item["stored_size"]) if item["stored_size"] is not None else "?"
        line = f"  {item['id']:<32} {item['state']:<12} {size:>10} {stored:>10}"
        yield line + (f"  last read {item['last_verified']}" if item["last_verified"] else f"  {item['problem']}")
    for timeline in answer["timelines"]:
        yield (
            f"  timeline {timeline['id']:<23} {timeline['state']:<12} {timeline['commits']:>10,} commits "
            f"{size_text(timeline['stored_size']):>10}  {timeline['problem'] or 'began: ' + timeline['reason']}"
        )
    for start, end in _spans(answer["windows"]):
        yield f"  any moment  {start}  to  {end}"
    for gap in answer["gaps"]:
        yield f"  gap         {gap['from']}  to  {gap['to']}  {gap['reason']}"


def _spans(windows: Iterable[Values]) -> list[tuple[str, str]]:
    """Windows that meet are one."""
    found: list[tuple[str, str]] = []
    for window in windows:
        start = found.pop()[0] if found and found[-1][1] == window["from"] else window["from"]
        found.append((start, window["to"]))
    return found


def status(answer: Values) -> Iterable[str]:
    """Healthy or not, and what to do."""
    age = "never" if answer["age"] is None else f"{duration_text(max(0.0, answer['age']))} ago"
    yield f"{answer['database']}: {'protected' if answer['healthy'] else 'NOT PROTECTED AS WISHED'}"
    yield f"  source    {answer['path']}"
    yield f"  newest    {answer['newest']['id'] if answer['newest'] else 'none'}, {age}"
    yield f"  kept      {answer['restore_points']} restore points, {size_text(answer['stored_size'])}"
    if answer["archive"]:
        archive = answer["archive"]
        words = "running" if archive["running"] else "NOT RUNNING"
        until = archive["proven_until"] or "(none yet)"
        yield f"  archive   {words}, any moment until {until}, gaps: {archive['gaps']}"
    for remote in answer["remotes"]:
        until = f", commits until {remote['until']}" if remote["until"] else ""
        missing = f", {len(remote['missing'])} backups MISSING" if remote["missing"] else ""
        yield f"  off host  {remote['remote']}: all that was there by {remote['success'] or 'never'}{until}{missing}"
    for finding in answer["findings"]:
        yield f"  finding   {finding}"


def restore(answer: Values) -> Iterable[str]:
    """The plan, or what was done and how to undo it."""
    name, result = answer["database"], answer["result"]
    if answer["action"] == "discard":
        words = f"{answer['plan']['from']} is gone" if answer["changed"] else "no prepared restore waits there"
        yield f"{name}: {words}; {answer['plan']['target']} is as it was"
        return
    if result is None:
        yield from _plan(answer)
        return
    if not result["swapped"]:
        yield f"{name}: {result['backup']} is built and proven beside {result['target']}; nothing is replaced yet"
    elif answer["action"] == "rollback":
        yield f"{name}: {result['target']} is again what it was before the last restore"
    else:
        yield f"{name}: {result['target']} is restored from {result['backup']}"
    if answer["action"] != "rollback":
        yield from point_lines(result["point"])
    if result["quarantine"]:
        yield f"  replaced  the files that stood there are in {result['quarantine']}"
    for note in result["notes"]:
        yield f"  note      {note}"
    if result["swapped"] and answer["action"] == "restore" and result["quarantine"]:
        yield f"  next      start the application and check it; to undo: litekeep restore {name} --rollback"


def _plan(answer: Values) -> Iterable[str]:
    plan = answer["plan"]
    if answer["action"] == "rollback":
        yield f"{answer['database']}: {plan['target']} would be replaced by the files in {plan['from']}"
        return
    chosen = plan["backup"]
    yield f"{answer['database']}: {plan['target']} would be restored from {plan['point']['id']}"
    yield from point_lines(plan["point"])
    yield f"  age       {duration_text(max(0.0, plan['age']))}"
    yield f"  base      {size_text(chosen['size'])}, {_rows(chosen['rows'])}"
    yield f"  replaces  {', '.join(plan['replaces']) or 'nothing'}"
    if plan["in_use_by"]:
        yield f"  in use    {'; '.join(plan['in_use_by'])}: stop them first"
    if plan["hidden_processes"]:
        yield f"  warning   {plan['hidden_processes']} processes of other users could not be looked into (run as root)"


def point_lines(point: Values) -> Iterable[str]:
    """Asked for, recovered, and what comes next."""
    if point["requested"]:
        yield f"  requested {point['requested']}"
    yield f"  recovered the state of {point['recovered']}"
    if point["last_commit_observed"]:
        yield f"            its last commit was observed by {point['last_commit_observed']}"
    yield f"  later     {'the next state was observed by ' + point['next'] if point['next'] else 'nothing is known'}"
    if point["segments"]:
        yield f"  made of   backup {point['base']} and {point['segments']} segments of the archive"


def _rows(rows: Values) -> str:
    total = sum(count or 0 for count in rows.values())
    return f"{total:,} rows in {len(rows)} table{'' if len(rows) == 1 else 's'}"


def _warnings(item: Values) -> Iterable[str]:
    for warning in item["warnings"]:
        yield f"  warning   {warning}"
