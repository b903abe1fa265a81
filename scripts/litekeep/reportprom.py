# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The audit as metrics: a file in Prometheus' text format, for the textfile collector of the node exporter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from .controls import SEVERITIES
from .reporttext import Values, last_drill, milliseconds

_Samples = Iterable[tuple[Mapping[str, str], float]]
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def textfile(report: Values) -> str:
    """All metrics. Times are seconds since 1970; what never happened has no sample."""
    databases = [({"host": each["host"], "database": each["database"]}, each) for each in report["databases"]]
    found = Counter(
        (each["host"], each["database"] or "", each["control"], each["severity"]) for each in report["findings"]
    )
    labels = ("host", "database", "control", "severity")
    summary = report["summary"]
    # A host may be asked as what it is twice; where one of both did not answer, it did not.
    hosts: dict[tuple[str, str], float] = {}
    for each in report["hosts"]:
        key = (each["host"], each["kind"])
        hosts[key] = min(hosts.get(key, 1), float(each["state"] == "answered"))
    metrics: list[tuple[str, str, _Samples]] = [
        (
            "generated_timestamp_seconds",
            "When the audit was made.",
            [({}, _seconds(report["generated"]))],
        ),
        ("compliant", "Whether the audit passed: 1 or 0.", [({}, float(report["compliant"]))]),
        ("databases", "Databases that were audited.", [({}, summary["databases"])]),
        (
            "findings",
            "Findings of each severity.",
            [({"severity": severity}, summary[severity]) for severity in SEVERITIES],
        ),
        (
            "finding",
            "Findings of this control; no sample where there is none.",
            [(dict(zip(labels, key)), count) for key, count in found.items()],
        ),
        (
            "host_answered",
            "Whether the host answered: 1 or 0.",
            [({"host": host, "kind": kind}, value) for (host, kind), value in hosts.items()],
        ),
        (
            "newest_verified_backup_timestamp_seconds",
            "The moment whose state the newest verified backup holds.",
            [(key, _seconds(each["newest"])) for key, each in databases if each["newest"]],
        ),
        (
            "rpo_seconds",
            "How old the newest verified backup may be.",
            [(key, each["objectives"]["rpo"]) for key, each in databases if each["objectives"]["rpo"] is not None],
        ),
        (
            "proven_until_timestamp_seconds",
            "The last moment that the archive can restore.",
            [(key, _seconds(each["proven_until"])) for key, each in databases if each["proven_until"]],
        ),
        (
            "last_drill_timestamp_seconds",
            "When the database was last restored on trial.",
            [(key, _seconds(last_drill(each)["time"])) for key, each in databases if each["drills"]],
        ),
        (
            "last_drill_passed",
            "Whether that trial passed: 1 or 0.",
            [(key, float(last_drill(each)["result"] == "passed")) for key, each in databases if each["drills"]],
        ),
        (
            "stored_bytes",
            "Bytes of all that is stored of the database.",
            [(key, each["stored_size"]) for key, each in databases if each["stored_size"] is not None],
        ),
    ]
    return "".join(_metric(f"litekeep_audit_{name}", words, samples) for name, words, samples in metrics)


def _metric(name: str, words: str, samples: _Samples) -> str:
    lines = {_labels(labels): value for labels, value in samples}  # the same twice would spoil the file
    body = "".join(f"{name}{labels} {value!r}\n" for labels, value in sorted(lines.items()))
    return f"# HELP {name} {words}\n# TYPE {name} gauge\n{body}" if body else ""


def _labels(labels: Mapping[str, str]) -> str:
    parts = [f'{key}="{_escaped(value)}"' for key, value in labels.items()]
    return f"{{{','.join(parts)}}}" if parts else ""


def _escaped(value: str) -> str:
    """A label's value is the name itself, whatever it holds; only what is no UTF-8 is told apart."""
    return value.encode("utf-8", "backslashreplace").decode().translate(_ESCAPES)


def _seconds(moment: str) -> float:
    return milliseconds(moment) / 1000
