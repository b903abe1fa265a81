from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import auditing
import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from litekeep import controls, reportcsv, reportdata, reporthtml, reportprom, reporttext

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\"'><img src=x onerror=alert(1)>",
    "a\nb\r\tc\0d",
    "\u202edb.evil\u2066",
    "half \udcff of a character",
    "back\\slash \"quoted\" {label=\"x\"} 1",
    "=HYPERLINK(\"http://example.net\")",
    "&lt;&amp;",
    "\u2028 \u540d\u524d \U0001f3b5",
)  # fmt: skip


@pytest.fixture(scope="module")
def small() -> auditing.Report:
    return auditing.small()


@pytest.fixture(scope="module")
def hostile() -> auditing.Report:
    """A fleet whose names and texts are all meant to break out."""
    databases, findings = [], []
    for text in HOSTILE:
        databases.append(
            auditing.database(
                text, text, [{**auditing.backup(60, 1), "id": text}], path=text, seen_by=[text],
                gaps=[{"from": auditing.ago(9), "to": auditing.ago(8), "reason": text}],
                drills=[auditing.drill(5, text)],
            )
        )  # fmt: skip
        findings.append({**auditing.finding("LK03", "critical", text, text, text, text), "control": text})
        findings.append(auditing.finding("LK02", "notice", text, None, text, text))
    hosts = [auditing.host(text, "failed", text) for text in HOSTILE]
    report = auditing.report(hosts, databases, findings)
    report["controls"][0].update(name=HOSTILE[0], title=HOSTILE[1])
    return report


class Elements(HTMLParser):
    """The elements, in order, with their attributes, and the text of the elements that are not markup."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": [], "code": []}
        self._within = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._within = tag
        if tag in self.raw:
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within in self.raw:
            self.raw[self._within][-1] += data
        else:
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")


def test_the_examples_have_the_published_form(audit_schema: jsonschema.Draft202012Validator, hostile: Any) -> None:
    for report in (auditing.small(), auditing.good(), auditing.large(40, 5), hostile):
        audit_schema.validate(report)


@pytest.mark.parametrize("fail_on", ["critical", "warning", "notice", "never"])
def test_the_verdict_of_the_published_form_follows_from_the_findings(
    audit_schema: jsonschema.Draft202012Validator, fail_on: str
) -> None:
    for severity in ("critical", "warning", "notice"):
        findings = [auditing.finding("LK11", severity, "db1", None, "little space")]
        report = auditing.report([auditing.host("db1")], [], findings, fail_on)
        audit_schema.validate(report)
        with pytest.raises(jsonschema.ValidationError):
            audit_schema.validate({**report, "compliant": not report["compliant"]})


def test_an_example_with_a_key_more_or_less_has_not_the_published_form(
    audit_schema: jsonschema.Draft202012Validator, small: auditing.Report
) -> None:
    def parts(value: Any) -> Any:
        if isinstance(value, dict):
            yield value
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from parts(each)

    report = json.loads(json.dumps(small))
    report["databases"] = [each for each in report["databases"] if each["database"] == "orders"]
    for key in ("backups", "hosts", "findings", "controls"):
        del (report if key in report else report["databases"][0])[key][2:]
    for part in list(parts(report)):
        if any(re.fullmatch("LK..", key) for key in part):
            continue
        part["surplus"] = 1
        assert not audit_schema.is_valid(report), part
        del part["surplus"]
        for key in list(part):
            value = part.pop(key)
            assert not audit_schema.is_valid(report), key
            part[key] = value
    assert audit_schema.is_valid(report)


def test_the_table_has_a_row_for_each_finding_and_for_all_that_is_in_order(small: auditing.Report) -> None:
    rows = list(csv.DictReader(io.StringIO(reportcsv.table(small))))
    assert tuple(rows[0]) == reportcsv.COLUMNS
    assert {row["generated"] for row in rows} == {small["generated"]}
    found = [row for row in rows if row["state"] in controls.SEVERITIES]
    told = {(each["host"], each["database"] or "", each["id"], each["evidence"], each["remedy"]) for each in
            small["findings"]}  # fmt: skip
    assert {(r["host"], r["database"], r["control_id"], r["evidence"], r["remedy"]) for r in found} == told
    assert len(found) == len(small["findings"])
    rest = {(row["host"], row["database"], row["control_id"]): row["state"] for row in rows if row not in found}
    asked = {
        (each["host"], each["database"], key): state
        for each in small["databases"]
        for key, state in each["controls"].items()
        if state in ("ok", "unknown")
    }
    hosts = {(each["host"], "", "LK01"): "ok" for each in small["hosts"] if each["host"] != "db3"}
    assert rest == {**asked, **hosts}
    assert [row["host"] for row in rows] == sorted((row["host"] for row in rows), key=reporttext.natural)


def test_two_findings_of_one_control_are_two_rows() -> None:
    findings = [auditing.finding("LK06", "warning", "db1", "shop", text) for text in ("a gap", "not running")]
    report = auditing.report([auditing.host("db1")], [auditing.database("db1", "shop", [])], findings)
    rows = [row for row in csv.DictReader(io.StringIO(reportcsv.table(report))) if row["control_id"] == "LK06"]
    assert [row["evidence"] for row in rows] == ["a gap", "not running"]


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff20"])
def test_no_cell_of_the_table_is_a_formula(first: str) -> None:
    evil = f"{first}cmd|' /C calc'!A0"
    report = auditing.report([auditing.host(evil)], [auditing.database(evil, evil, [])], [
        auditing.finding("LK03", "critical", evil, evil, evil, evil)])  # fmt: skip
    text = reportcsv.table(report)
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert any("calc" in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff20"))]


def test_the_table_holds_hostile_names_in_one_cell_each(hostile: auditing.Report) -> None:
    text = reportcsv.table(hostile)
    text.encode()
    assert {len(row) for row in csv.reader(io.StringIO(text))} == {len(reportcsv.COLUMNS)}
    assert {row["evidence"].removeprefix("'") for row in csv.DictReader(io.StringIO(text))} - {""} == {
        reporttext.plain(name) for name in HOSTILE
    }


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type == "gauge"
        for sample in family.samples:
            key = sample.name.removeprefix("litekeep_audit_"), tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def test_a_real_parser_reads_the_metrics(small: auditing.Report) -> None:
    found = samples(reportprom.textfile(small))
    shop = (("database", "shop"), ("host", "db1"))
    empty = (("database", "empty"), ("host", "db10"))
    assert found["generated_timestamp_seconds", ()] == auditing.NOW.timestamp()
    assert found["compliant", ()] == 0
    assert found["findings", (("severity", "critical"),)] == 4
    assert found["newest_verified_backup_timestamp_seconds", shop] == auditing.NOW.timestamp() - 45_600
    assert ("newest_verified_backup_timestamp_seconds", empty) not in found
    assert found["rpo_seconds", empty] == 3600
    assert found["last_drill_timestamp_seconds", shop] == auditing.NOW.timestamp() - 43_200
    assert found["proven_until_timestamp_seconds", shop] == pytest.approx(auditing.NOW.timestamp() - 9.2)
    assert found["host_answered", (("host", "db3"), ("kind", "database host"))] == 0
    assert found["host_answered", (("host", "bs1"), ("kind", "backup server"))] == 1
    labels = (("control", "freshness"), ("database", "events"), ("host", "db1"), ("severity", "critical"))
    assert found["finding", labels] == 1
    assert len([name for name, _labels in found if name == "finding"]) == len(small["findings"])


def test_the_metrics_of_hostile_names_have_exactly_these_names(hostile: auditing.Report) -> None:
    text = reportprom.textfile(hostile)
    text.encode()
    names = {dict(labels).get("database") for name, labels in samples(text) if name == "stored_bytes"}
    assert names == {name.replace("\udcff", "\\udcff") for name in HOSTILE}


def test_what_comes_twice_is_one_sample(small: auditing.Report) -> None:
    bs1 = auditing.host("bs1", "failed", "no", kind="backup server")
    report = {
        **small,
        "hosts": [bs1, *small["hosts"], auditing.host("bs1")],
        "findings": [*small["findings"], *small["findings"]],
    }
    found = samples(reportprom.textfile(report))
    assert found["host_answered", (("host", "bs1"), ("kind", "backup server"))] == 0
    assert found["host_answered", (("host", "bs1"), ("kind", "database host"))] == 1
    assert {value for (name, _labels), value in found.items() if name == "finding"} == {2}


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(small: auditing.Report) -> None:
    elements = Elements(reporthtml.page(small))
    (policy,) = [each["content"] for tag, each in elements.found if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))

    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    (style,), (_data, script) = elements.raw["style"], elements.raw["script"]
    assert rules["style-src"] == allowed(style)
    assert rules["script-src"] == allowed(script)
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    tags = [tag for tag, _attributes in elements.found]
    assert tags.index("meta") < tags.index("style")


def test_the_page_refers_to_nothing_outside(hostile: auditing.Report) -> None:
    elements = Elements(reporthtml.page(hostile))
    for tag, attributes in elements.found:
        assert tag not in ("img", "link", "iframe", "object", "embed", "base"), tag
        assert not {"src", "style", "srcset", "action"} & set(attributes), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\((?!#)|@import", elements.raw["style"][0])


def test_hostile_names_are_text_on_the_page(hostile: auditing.Report) -> None:
    page = reporthtml.page(hostile)
    page.encode()
    elements = Elements(page)
    tame = Elements(
        reporthtml.page(json.loads(re.sub(r'"host": "(?:[^"\\]|\\.)*"', '"host": "db"', json.dumps(hostile))))
    )
    assert [tag for tag, _attributes in elements.found if tag != "wbr" and tag != "a"] == [
        tag for tag, _attributes in tame.found if tag != "wbr" and tag != "a"
    ]
    assert set(elements.raw["code"]) == {reporttext.plain(name) for name in HOSTILE}
    told = {text for text in elements.texts if text in {reporttext.plain(name) for name in HOSTILE}}
    assert len(told) == len(HOSTILE)


def test_the_embedded_data_can_stand_in_a_script(hostile: auditing.Report) -> None:
    text = reportdata.embedded(hostile, hostile["databases"], hostile["findings"])
    assert not set("<>&") & set(text)
    assert text.isascii()
    data = json.loads(text)
    assert [each["name"] for each in data["databases"]] == [reporttext.plain(name) for name in HOSTILE]


def test_the_embedded_data_says_when_and_what_every_backup_was(small: auditing.Report) -> None:
    rows = reporttext.databases_of(small)
    data = json.loads(reportdata.embedded(small, rows, []))
    for row, packed in zip(rows, data["databases"]):
        at, times = data["now"], []
        for step in packed["times"].split():
            at += int(step, 36)
            times.append(at)
        assert times == sorted(reporttext.milliseconds(each["time"]) for each in row["backups"])
        kinds = [data["kinds"][int(kind, 36)] for kind in packed["kind"]]
        assert kinds == [each["state"] for each in sorted(row["backups"], key=lambda each: each["time"])]
        assert "names" not in packed


@pytest.mark.parametrize("number", [0, 1, 35, 36, -1, -36, 86_400_000, 10**15])
def test_base_36_reads_back(number: int) -> None:
    assert int(reportdata.base36(number), 36) == number


def test_windows_that_meet_are_one_in_the_embedded_data(small: auditing.Report) -> None:
    shop = [each for each in small["databases"] if each["database"] == "shop"]
    (packed,) = json.loads(reportdata.embedded(small, shop, []))["databases"]
    assert [int(step, 36) for step in packed["windows"].split()] == [-20 * 86_400_000, 20 * 86_400_000 - 9200]


def test_a_large_fleet_makes_a_page_of_modest_size() -> None:
    page = reporthtml.page(auditing.large(200, 60))
    assert len(page.encode()) < 500_000


@pytest.mark.parametrize(
    ("severity", "fail_on", "words"),
    [
        ("critical", "warning", "Not compliant"),
        ("critical", "never", "Compliant, with 1 critical finding"),
        ("warning", "critical", "Compliant, with 1 warning"),
        ("notice", "warning", "Compliant"),
        ("notice", "notice", "Not compliant"),
    ],
)
def test_the_headline_does_not_hide_what_the_audit_does_not_fail_on(severity: str, fail_on: str, words: str) -> None:
    findings = [auditing.finding("LK11", severity, "db1", None, "little space")]
    report = auditing.report([auditing.host("db1")], [], findings, fail_on)
    assert reporthtml.headline(report) == words
    assert f"<title>{words}: " in reporthtml.page(report)


def test_the_page_of_a_fleet_of_nothing_says_so() -> None:
    texts = Elements(reporthtml.page(auditing.report([], [], []))).texts
    assert {"Compliant", "There is no finding.", "There is no database."} <= set(texts)


def test_without_the_script_every_finding_and_database_is_there(small: auditing.Report) -> None:
    elements = Elements(reporthtml.page(small))
    for finding in small["findings"]:
        assert finding["evidence"] in elements.texts
        assert finding["remedy"] in elements.raw["code"]
    for database in small["databases"]:
        assert database["database"] in elements.texts


def test_the_worst_come_first_and_numbers_in_names_count(small: auditing.Report) -> None:
    rows = [(each["worst"], each["host"]) for each in reporttext.databases_of(small)]
    assert rows == [("critical", "db1"), ("critical", "db3"), ("critical", "db10"), ("warning", "db2"),
                    ("notice", "db2"), ("ok", "db1"), ("ok", "db10")]  # fmt: skip
    severities = [each["severity"] for each in reporttext.findings_of(small)]
    assert severities == sorted(severities, key=controls.SEVERITIES.index)
    assert reporttext.natural("a" + "9" * 5000) > reporttext.natural("a8")


def test_ages_are_those_at_the_time_of_the_audit() -> None:
    generated = auditing.ago(0)
    assert reporttext.age(auditing.ago(45_600), generated) == "12 h 40 min ago"
    assert reporttext.age(auditing.ago(-3600), generated) == "1 h ahead"
    assert reporttext.minute(generated) == "2026-11-23 14:40"


def test_equal_reports_make_equal_pages() -> None:
    assert reporthtml.page(auditing.small()) == reporthtml.page(auditing.small())
