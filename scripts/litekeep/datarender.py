# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Answers about rows and damage for people. See ``render``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .render import point_lines

Values = dict[str, Any]


def exported(answer: Values) -> Iterable[str]:
    """A line per file; nothing where the rows themselves go to standard output."""
    name = answer["database"]
    if any(file["path"] is None for file in answer["files"]):
        return
    where = "the live database" if answer["state"] == "live" else f"{answer['state']}, the state of {answer['moment']}"
    if "point" in answer:
        yield f"{name}: what came after {answer['point']['recovered']}"
    else:
        yield f"{name}: exported from {where}"
    for file in answer["files"]:
        yield f"  {file['table']:<20} {file['rows']:>12,} rows  {file['path']}"
        if file["range"]:
            yield from _range(file["range"])
    for file in answer.get("changed_rows", []):
        yield f"  {file['table']:<20} {file['rows']:>12,} rows that were others then  {file['path']}"
    for table, why in answer["skipped"].items():
        yield f"  {table:<20} not exported: {why}"
    yield from differences(answer.get("differences", []))


def _range(used: Values) -> Iterable[str]:
    start, end = used["from"] or "the first", used["to"] or "the end"
    yield f"    {used['column']} holds {used['unit']}; from {start} until before {end}"
    if used["left_out"]:
        yield f"    {used['left_out']:,} rows hold no such time, and are in no range"


def imported(answer: Values) -> Iterable[str]:
    """A line per file."""
    would = "would be " if answer["dry_run"] else ""
    for file in answer["files"]:
        made = f", which {'would be' if answer['dry_run'] else 'was'} made" if file["created"] else ""
        yield f"{answer['database']}: {file['rows']:,} rows of {file['path']} into {file['table']}{made}"
        yield (
            f"  {would}inserted {file['inserted']:,}, ignored (there already) {file['ignored']:,}, "
            f"replaced {file['replaced']:,}"
        )
        if file["triggers"]:
            yield f"  triggers  {', '.join(file['triggers'])} fired"


def undeleted(answer: Values) -> Iterable[str]:
    """What came back, table by table."""
    words = "would be put back" if answer["dry_run"] else "put back"
    yield f"{answer['database']}: {answer['put_back']:,} rows {words}"
    yield from point_lines(answer["point"])
    for table in answer["tables"]:
        yield from _undeleted_table(table, words)
    if answer["triggers"] and answer["put_back"]:
        wrote = f" and wrote {answer['rows_of_triggers']:,} rows beside" if answer["rows_of_triggers"] else ""
        yield f"  triggers  {', '.join(answer['triggers'])} fired{wrote}"
    if answer["dry_run"]:
        yield "  next      the same command without --dry-run"


def _undeleted_table(table: Values, words: str) -> Iterable[str]:
    name = table["table"]
    if table["note"]:
        yield f"  {name:<20} left alone: {table['note']}"
        return
    made = ", the table itself was gone" if table["made_again"] else ""
    if not (table["missing"] or table["changed"] or table["made_again"]):
        return
    yield f"  {name:<20} {table['missing']:>12,} missing{made}, {table['put_back']:,} {words}"
    for line in table["sample"]:
        yield f"    missing   {line}"
    for line in table["conflicts"]:
        yield f"    conflict  {line}"
    if table["changed"]:
        more = " and others" if table["changed"] > len(table["changed_keys"]) else ""
        yield f"    {table['changed']:,} rows with the same key have another content now, and stay so:"
        yield f"              {'; '.join(table['changed_keys'])}{more}"


def commits(answer: Values) -> Iterable[str]:
    """States with their rows, and where rows went."""
    yield f"{answer['database']}: {answer['commits']:,} looks found commits from {answer['from']} to {answer['to']}"
    tables = sorted({table for state in answer["states"] for table in state["rows"]})
    yield "  observed by               " + "".join(f"{table[:14]:>16}" for table in tables)
    for state in answer["states"]:
        counts = "".join(f"{state['rows'][t]:>16,}" if t in state["rows"] else f"{'none':>16}" for t in tables)
        yield f"  {state['observed']}  {counts}"
    if not answer["falls"]:
        yield "  no table has fewer rows at the end of one of these steps than at its beginning"
    for fall in answer["falls"]:
        words = "the table itself, with its" if fall["gone"] else "fewer by"
        yield f"  {fall['after']['observed']}  {fall['table']}: {words} {fall['rows']:,} rows"
        if fall["looks"] != 1:
            how = "in several commits" if fall["looks"] else "nobody watched"
            yield f"    {how} between these two states"
        before = fall["before"]
        yield f"    the last state before it was observed by {before['observed']}: --to {before['point']}"


def triaged(answer: Values) -> Iterable[str]:
    """What is wrong."""
    yield f"{answer['database']}: {answer['damage']}: {answer['meaning']}"
    for message in answer["messages"][:10]:
        yield f"  found     {message}"
    for table, rows in answer["rows"].items():
        yield f"  table     {table}: {'cannot be read to its end' if rows is None else f'{rows:,} rows can be read'}"


def repaired(answer: Values) -> Iterable[str]:
    """What was made, and how it differs from the newest backup."""
    result = answer["result"]
    yield f"{answer['database']}: {result['target']} was made by {answer['action']} and passes its checks"
    if result["quarantine"]:
        yield f"  replaced  the files that stood there are in {result['quarantine']}"
    for note in result["notes"]:
        yield f"  note      {note}"
    for table, rows in answer["rows"].items():
        yield f"  table     {table}: {'?' if rows is None else f'{rows:,}'} rows"
    if answer["against"]:
        yield f"  against   the newest restore point, {answer['against']}:"
        yield from differences(answer["differences"]) if answer["differences"] else ["    no difference"]


def differences(tables: Iterable[Values]) -> Iterable[str]:
    """Rows that went, came and changed, table by table."""
    for each in tables:
        if each["note"] and each["gone"] is None:
            yield f"    {each['table']:<20} cannot be compared: {each['note']}"
            continue
        kind = "  (a new table)" if not each["before"] else "" if each["now"] else "  (the table is gone)"
        gone, came, changed = (each[key] or 0 for key in ("gone", "came", "changed"))
        yield f"    {each['table']:<20} rows that went {gone:,}, came {came:,}, changed {changed:,}{kind}"
