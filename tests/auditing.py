"""Reports of audits for tests: a small fleet in which everything has gone wrong once, and one of any size."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

from litekeep.controls import worst_of
from litekeep.timefmt import to_id, to_text

Report = dict[str, Any]
NOW = dt.datetime(2026, 11, 23, 14, 40, tzinfo=dt.timezone.utc)
DAY = 86_400
HOUR = 3_600
CONTROLS = {
    "LK01": ("reachable", "Every host and every backup server answers"),
    "LK02": ("coverage", "Every SQLite file on the host is protected, or left out on purpose"),
    "LK03": ("freshness", "The newest verified backup is within the objective"),
    "LK04": ("verification", "Every backup that is kept has been read again"),
    "LK05": ("retention", "As many backups are kept as the policy says"),
    "LK06": ("archive", "The archive runs, and has no gap"),
    "LK07": ("off-host", "A copy off the host is complete and not late"),
    "LK08": ("sealed", "Nobody on the host can change the copies off it"),
    "LK09": ("encryption", "Copies at strangers' places are encrypted"),
    "LK10": ("drills", "Every backup was restored on trial, within the objective"),
    "LK11": ("space", "The space lasts until the next audit"),
    "LK12": ("sqlite", "The host's SQLite does not lose commits"),
    "LK13": ("version", "Every host has the same Litekeep"),
    "LK14": ("services", "The timers and services that are configured run"),
    "LK15": ("source", "The database itself is sound"),
}


def ago(seconds: float) -> str:
    """A time before the audit."""
    return to_text(NOW - dt.timedelta(seconds=seconds))


def backup(seconds: float, size: int, state: str = "verified") -> Report:
    """A backup of that age."""
    moment = NOW - dt.timedelta(seconds=seconds)
    return {"id": f"{to_id(moment)}-full", "time": to_text(moment), "state": state, "stored_size": size}


def drill(seconds: float, point: str, took: float = 12.3, passed: bool = True, late: bool | None = False) -> Report:
    """A drill so long ago."""
    in_time = None if late is None else not late
    result = "passed" if passed else "failed"
    return {"time": ago(seconds), "point": point, "result": result, "seconds": took, "in_time": in_time}


def finding(key: str, severity: str, host: str, database: str | None, evidence: str, remedy: str = "") -> Report:
    """A finding of a control."""
    values = {"id": key, "control": CONTROLS[key][0], "severity": severity, "host": host, "database": database}
    return {**values, "evidence": evidence, "remedy": remedy}


def host(name: str, state: str = "answered", problem: str = "", kind: str = "database host") -> Report:
    """A host that was asked."""
    known = state == "answered"
    versions = {"version": "0.1.0" if known else None, "sqlite": "3.40.1" if known else None}
    return {"host": name, "kind": kind, "state": state, "problem": problem, **versions}


def database(host: str, name: str, backups: list[Report], **values: Any) -> Report:
    """A database without a finding; ``values`` say what is not so."""
    good = [each["time"] for each in backups if each["state"] == "verified"]
    return {
        "host": host,
        "database": name,
        "path": f"/var/lib/{name}/{name}.db",
        "seen_by": [host, "bs1"],
        "worst": "ok",
        "controls": dict.fromkeys(CONTROLS, "ok"),
        "objectives": {"rpo": DAY, "rto": 1800, "drill_every": 30 * DAY},
        "newest": max(good, default=None),
        "size": 1_017_769_984,
        "stored_size": sum(each["stored_size"] or 0 for each in backups),
        "proven_until": None,
        "backups": backups,
        "windows": [],
        "gaps": [],
        "drills": [],
        **values,
    }


def report(hosts: list[Report], databases: list[Report], findings: list[Report], fail_on: str = "warning") -> Report:
    """The report: what can be counted is counted."""
    for each in databases:
        for found in findings:
            if (found["host"], found["database"]) == (each["host"], each["database"]):
                each["controls"][found["id"]] = found["severity"]
        each["worst"] = worst_of(state for state in each["controls"].values() if state != "unknown")
    severities = ["critical", "warning", "notice"]
    bad = severities[: severities.index(fail_on) + 1] if fail_on in severities else []
    return {
        "format": {"name": "litekeep-audit", "version": 1},
        "generated": to_text(NOW),
        "fail_on": fail_on,
        "compliant": not [each for each in findings if each["severity"] in bad],
        "summary": {
            "hosts": len(hosts),
            "databases": len(databases),
            "green": sum(each["worst"] in ("notice", "ok") for each in databases),
            **{name: sum(each["severity"] == name for each in findings) for name in severities},
        },
        "controls": [{"id": key, "name": name, "title": title} for key, (name, title) in CONTROLS.items()],
        "hosts": hosts,
        "databases": databases,
        "findings": findings,
    }


def nightly(count: int, size: int, newest: float = 12 * HOUR + 2400) -> list[Report]:
    """A backup each night, oldest first."""
    return [backup(newest + night * DAY, size + night * 1013) for night in reversed(range(count))]


def small() -> Report:
    """Seven databases on four hosts and a backup server: good, stale, with gaps, unprotected, unreachable."""
    shop = nightly(30, 250_000_000)
    shop_until = 9.2
    stale = nightly(21, 88_000_000, newest=3 * DAY + 2 * HOUR)
    stale[4]["state"], stale[11]["state"], stale[12]["state"] = "damaged", "bad source", "unreadable"
    stale[12]["stored_size"] = None
    torn = nightly(14, 12_000_000)
    few = nightly(3, 500_000)
    lost = nightly(9, 40_000_000, newest=5 * DAY)
    databases = [
        database(
            "db1",
            "shop",
            shop,
            proven_until=ago(shop_until),
            windows=[{"from": ago(20 * DAY), "to": ago(10 * DAY)}, {"from": ago(10 * DAY), "to": ago(shop_until)}],
            drills=[drill(12 * DAY, shop[10]["id"]), drill(0.5 * DAY, "latest", took=11.8)],
        ),
        database("db1", "events", stale, drills=[drill(40 * DAY, stale[0]["id"], took=2_400, late=True)]),
        database(
            "db2",
            "orders",
            torn,
            size=48_000_000,
            proven_until=ago(3 * HOUR),
            windows=[
                {"from": ago(12 * DAY), "to": ago(6 * DAY)},
                {"from": ago(5.5 * DAY), "to": ago(2 * DAY)},
                {"from": ago(2 * DAY - 900), "to": ago(3 * HOUR)},
            ],
            gaps=[
                {"from": ago(6 * DAY), "to": ago(5.5 * DAY), "reason": "the archive was stopped"},
                {"from": ago(2 * DAY), "to": ago(2 * DAY - 900), "reason": "a checkpoint came before the archiver"},
            ],
            drills=[drill(8 * DAY, torn[3]["id"], passed=False, took=3.1), drill(7 * DAY, torn[4]["id"])],
        ),
        database("db2", "cache", few, size=2_100_000, objectives={"rpo": None, "rto": None, "drill_every": 30 * DAY}),
        database("db10", "empty", [], size=None, objectives={"rpo": 3600, "rto": None, "drill_every": 30 * DAY}),
        database("db10", "notes", nightly(30, 900_000), size=3_900_000, drills=[drill(3 * DAY, "latest", 0.4)]),
        database("db3", "ledger", lost, path=None, seen_by=["bs1"], size=160_000_000),
    ]
    databases[3]["controls"] = {key: "ok" for key in CONTROLS if key not in ("LK06", "LK07", "LK08", "LK09")}
    databases[6]["controls"] = {"LK01": "ok", "LK03": "ok", "LK04": "unknown", "LK07": "ok", "LK12": "unknown"}
    findings = [
        finding("LK01", "critical", "db3", None, "no answer: connection timed out", "ssh db3 systemctl status ssh"),
        finding("LK03", "critical", "db1", "events", "the newest verified backup is 3 d 2 h old, the objective is 1 d",
                "litekeep backup events"),
        finding("LK03", "critical", "db10", "empty", "there is no verified backup", "litekeep backup empty"),
        finding("LK03", "critical", "db3", "ledger", "the newest copy on bs1 is 5 d old, the objective is 1 d",
                "litekeep push ledger"),
        finding("LK04", "warning", "db1", "events", "one backup is damaged, one is unreadable",
                "litekeep verify events --all"),
        finding("LK06", "warning", "db2", "orders", "2 gaps, the longest 12 h",
                "systemctl status litekeep-archive@orders.service"),
        finding("LK10", "warning", "db1", "events", "the last drill took 40 min, the objective is 30 min",
                "litekeep drill events"),
        finding("LK02", "warning", "db2", None, "/srv/forgotten/users.db is a SQLite database that nobody protects",
                "add it to sqlite_backup_databases of db2"),
        finding("LK10", "notice", "db2", "cache", "never restored on trial", "litekeep drill cache"),
        finding("LK13", "notice", "db2", None, "Litekeep 0.1.0, others have 0.2.0",
                "ansible-playbook playbooks/install.yml --limit db2"),
    ]  # fmt: skip
    hosts = [
        host("db1"),
        host("db2"),
        host("db3", "unreachable", "Failed to connect to the host via ssh: connection timed out"),
        host("db10"),
        host("bs1", kind="backup server"),
    ]
    return report(hosts, databases, findings)


def good() -> Report:
    """The part of the small fleet that is as it should be."""
    databases = [each for each in small()["databases"] if each["database"] in ("shop", "notes")]
    return report([host("db1"), host("db10"), host("bs1", kind="backup server")], databases, [])


def large(databases: int, backups: int, seed: int = 1) -> Report:
    """A fleet of ten databases a host, each with nightly backups. Equal arguments make equal reports."""
    draw = random.Random(seed)
    made, findings = [], []
    for number in range(databases):
        name, where = f"app{number:04d}", f"db{number // 10 + 1}.example.net"
        start = draw.randrange(DAY // 2)
        size = draw.randrange(1_000_000, 900_000_000)
        kept = [backup(start + night * DAY + draw.random() * 60, size + draw.randrange(size // 9))
                for night in reversed(range(backups))]  # fmt: skip
        trouble = draw.choices(["", "stale", "gap", "damaged"], [80, 7, 7, 6])[0]
        values: Report = {"size": size * 4, "drills": [drill(draw.random() * 25 * DAY, kept[-1]["id"])]}
        if number % 3 == 0:
            until, end = draw.random() * 20, backups / 2 * DAY
            values.update(proven_until=ago(until), windows=[{"from": ago(end), "to": ago(until)}])
            if trouble == "gap":
                gap = {"from": ago(end / 2), "to": ago(end / 2 - draw.randrange(60, 2 * DAY))}
                values["windows"] = [{"from": ago(end), "to": gap["from"]}, {"from": gap["to"], "to": ago(until)}]
                values["gaps"] = [{**gap, "reason": "the archive was stopped"}]
                findings.append(finding("LK06", "warning", where, name, "1 gap", f"systemctl status {name}"))
        if trouble == "stale":
            kept = kept[: -(3 % backups) or None]
            evidence = "the newest verified backup is 3 d old, the objective is 1 d"
            findings.append(finding("LK03", "critical", where, name, evidence, f"litekeep backup {name}"))
        if trouble == "damaged":
            kept[len(kept) // 2]["state"] = "damaged"
            findings.append(
                finding("LK04", "notice", where, name, "1 backup is damaged", f"litekeep verify {name} --all")
            )
        made.append(database(where, name, kept, **values))
    hosts = [host(name) for name in dict.fromkeys(each["host"] for each in made)]
    return report([*hosts, host("bs1", kind="backup server")], made, findings)
