# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of an audit, out of what hosts and backup servers have answered. Pure.

What a host says of its copies is compared with what the servers hold: neither is believed alone. The form is published
as ``docs/schemas/audit-1.schema.json``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .auditanswers import ANSWERED, HOST, SERVER, Values, blank
from .controls import (
    ARCHIVE,
    CONTROLS,
    COVERAGE,
    CRITICAL,
    NEVER,
    NOTICE,
    OFF_HOST,
    OK,
    REACHABLE,
    SEVERITIES,
    UNKNOWN,
    WARNING,
    Finding,
    worst_of,
)
from .repository import DAMAGED, UNREADABLE, VERIFIED
from .timefmt import from_id, from_text, to_text
from .waivers import waived

FORMAT = "litekeep-audit"
VERSION = 1
UNREACHABLE = "unreachable"
FAILED = "failed"
# A copy may be under way for so long.
_UNDER_WAY = dt.timedelta(hours=6)
_EMPTY: Values = {
    "objectives": {"rpo": None, "rto": None, "drill_every": None},
    "newest": None,
    "size": 0,
    "stored_size": 0,
    "proven_until": None,
    "backups": [],
    "windows": [],
    "gaps": [],
    "drills": [],
}


def silent(host: str, state: str, problem: str, kind: str = HOST) -> Values:
    """The answer of one that could not be asked: state is UNREACHABLE or FAILED."""
    remedy = (
        f"ansible {host} -m ping"
        if state == UNREACHABLE
        else "ansible-playbook retention_audit.yml -vvv --limit " + host
    )
    words = {UNREACHABLE: "it does not answer", FAILED: "the audit failed there"}[state]
    finding = Finding(REACHABLE, CRITICAL, f"{words}: {problem}", remedy)
    return blank(host, kind, findings=[finding], state=state, problem=problem)


def answers_of(name: str, result: Mapping[str, Any], is_server: bool) -> list[Values]:
    """What the task on one host of the inventory has returned, as answers: also of one that could not be asked."""
    kind = SERVER if is_server else HOST
    if result.get("unreachable"):
        return [silent(name, UNREACHABLE, _line(result.get("msg")), kind)]
    answers = result.get("answers")
    if not isinstance(answers, list):
        return [silent(name, FAILED, _line(result.get("msg")), kind)]
    return answers


def _line(message: object) -> str:
    """The first line of what Ansible says."""
    return next(iter(str(message or "it does not say why").strip().splitlines()), "")[:300]


def report(answers: Sequence[Values], fail_on: str, at: dt.datetime) -> Values:
    """All of it. fail_on: the least severity that makes the fleet not compliant, or ``never``."""
    asked = {answer["host"] for answer in answers if answer["kind"] == HOST}
    unanswered = {answer["host"] for answer in answers if answer["state"] in (UNREACHABLE, FAILED)}
    servers = [answer for answer in answers if answer["kind"] == SERVER and answer["state"] == ANSWERED]
    accepted = {answer["host"]: answer["accepted"] for answer in answers if answer.get("accepted")}
    rows = _rows(answers)
    databases, findings = [], []
    for (host, name), seen in sorted(rows.items()):
        found = [finding for who, entry in seen for finding in entry["findings"] if _counts(who, finding, seen)]
        found += [each.to_json() for each in _compared(host, seen, servers, at)]
        found = [waived(finding, name, accepted.get(host, ()), at) for finding in found]
        databases.append(_database(host, name, seen, found, unanswered))
        findings += [{**finding, "host": host, "database": name} for finding in _once(found)]
    for answer in answers:
        mine = [waived(finding, None, accepted.get(answer["host"], ()), at) for finding in answer["findings"]]
        findings += [{**finding, "host": answer["host"], "database": None} for finding in mine]
    for host in sorted({host for host, _name in rows} - asked) if asked else ():
        alone = Finding(COVERAGE, NOTICE, f"{host} was not asked: only what a backup server holds is known")
        findings.append({**alone.to_json(), "host": host, "database": None})
    findings.sort(
        key=lambda each: (SEVERITIES.index(each["severity"]), each["id"], each["host"], each["database"] or "")
    )
    failing = [] if fail_on == NEVER else SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    counts = {severity: sum(each["severity"] == severity for each in findings) for severity in SEVERITIES}
    return {
        "format": {"name": FORMAT, "version": VERSION},
        "generated": to_text(at),
        "fail_on": fail_on,
        "compliant": not any(counts[severity] for severity in failing),
        "summary": {
            "hosts": len(answers),
            "databases": len(databases),
            "green": sum(each["worst"] in (OK, NOTICE) for each in databases),
            **counts,
        },
        "controls": [{"id": each.id, "name": each.name, "title": each.title} for each in CONTROLS],
        "hosts": [
            {key: answer[key] for key in ("host", "kind", "state", "problem", "version", "sqlite")}
            for answer in sorted(answers, key=lambda answer: (answer["kind"], answer["host"]))
        ],
        "databases": databases,
        "findings": findings,
    }


Seen = list[tuple[Values, Values]]


def _rows(answers: Iterable[Values]) -> dict[tuple[str, str], Seen]:
    """By host and database: who has told of it, the host itself first, and what."""
    rows: dict[tuple[str, str], Seen] = {}
    for answer in sorted(answers, key=lambda answer: (answer["kind"] != HOST, answer["host"])):
        for entry in answer["databases"]:
            rows.setdefault((entry["host"], entry["database"]), []).append((answer, entry))
    return rows


def _database(host: str, name: str, seen: Seen, findings: Sequence[Values], silent_hosts: set[str]) -> Values:
    """One row of the report: what the host says of itself, and where it says nothing, the server with the newest."""
    answer, told = seen[0]
    if answer["kind"] != HOST:
        answer, told = max(seen, key=lambda each: each[1].get("newest") or "")
    entry = {**_EMPTY, **told}
    controls: dict[str, str] = {}
    for _who, each in seen:
        for control, outcome in each["controls"].items():
            # How bad it is, the findings say: some are accepted.
            controls[control] = worst_of((controls.get(control, OK), OK if outcome in SEVERITIES else outcome))
    for finding in findings:
        controls[finding["id"]] = worst_of((controls.get(finding["id"], OK), finding["severity"]))
    controls.setdefault(REACHABLE.id, OK if answer["kind"] == HOST else CRITICAL if host in silent_hosts else UNKNOWN)
    keys = ("path", "objectives", "newest", "size", "stored_size", "proven_until")
    lists = ("backups", "windows", "gaps", "drills")
    return {
        "host": host,
        "database": name,
        "seen_by": [who["host"] for who, _entry in seen],
        "worst": worst_of(outcome for outcome in controls.values() if outcome != UNKNOWN),
        "controls": dict(sorted(controls.items())),
        **{key: entry.get(key) for key in (*keys, *lists)},
    }


def _counts(who: Values, finding: Values, seen: Seen) -> bool:
    """Where gaps begin, the host knows to the second; a server, by what it was sent last."""
    gap = finding["id"] == ARCHIVE.id and finding["severity"] == WARNING
    return not (gap and who["kind"] == SERVER and seen[0][0]["kind"] == HOST)


def _once(findings: Iterable[Values]) -> list[Values]:
    """What host and server both say, once."""
    return list({(each["id"], each["evidence"]): each for each in findings}.values())


def _compared(host: str, seen: Seen, servers: Sequence[Values], at: dt.datetime) -> Iterable[Finding]:
    """What the host says against what the servers hold."""
    own = next((entry for who, entry in seen if who["kind"] == HOST), None)
    held = [(who, entry) for who, entry in seen if who["kind"] == SERVER]
    if own is None or not own.get("away"):
        return
    knows = [who for who in servers if any(entry["host"] == host for entry in who["databases"])]
    if not knows:
        # Its copies are where nobody was asked.
        return
    there = {backup["id"]: backup["state"] for _who, entry in held for backup in entry.get("backups", [])}
    removed = {name for _who, entry in held for name in entry.get("removed", [])}
    oldest = min((from_id(name) for name in there), default=None)
    unsent = set.intersection(*(set(missing) for missing in own["away"].values()))
    lost = [
        backup["id"]
        for backup in own.get("backups", [])
        if backup["state"] == VERIFIED
        and backup["id"] not in there
        and backup["id"] not in removed
        and backup["id"] not in unsent
        and at - from_text(backup["time"]) > _UNDER_WAY
        # What is older than all that stands there went by rules of then.
        and (oldest is None or from_id(backup["id"]) > oldest)
    ]
    names = ", ".join(who["host"] for who in knows)
    if lost:
        what = f"{len(lost)} backups that this host has sent are not on {names}, for example {lost[0]}"
        yield Finding(OFF_HOST, CRITICAL, what, "litekeep list (on both)")
    bad = [name for name, state in there.items() if state in (DAMAGED, UNREADABLE)]
    good = {backup["id"] for backup in own.get("backups", []) if backup["state"] == VERIFIED}
    if good.intersection(bad):
        what = f"the copy of {min(good.intersection(bad))} on {names} is damaged, the one on this host is not"
        yield Finding(OFF_HOST, WARNING, what)
    newest = max((name for name, state in there.items() if state == VERIFIED), default="")
    if newest and newest > max(good, default="") and newest not in _ids(own):
        what = f"{names} holds a newer backup than the host itself: {newest}"
        yield Finding(OFF_HOST, WARNING, what, "litekeep list (on both)")


def _ids(entry: Mapping[str, Any]) -> set[str]:
    return {backup["id"] for backup in entry.get("backups", [])}
