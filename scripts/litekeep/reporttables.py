# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The tables of the audit's page, as they can be read without its script."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence

from .controls import SEVERITIES, STATES
from .reporttext import WORDS, Values, age, last_drill, minute, natural, plain
from .timefmt import duration_text, size_text

_NUMBER = ' class="n"'
_LEGEND = (
    ("verified backup", 6, '<path class="verified" d="M2 1h2v12h-2z"/>'),
    ("backup that does not count", 14, '<path class="bad" d="M3 3l8 8m0-8l-8 8"/>'),
    ("any moment can be restored", 18, '<path class="window" d="M1 4h16v6h-16z"/>'),
    ("gap", 12, '<path class="gap" d="M1 2h10v10h-10z"/>'),
    ("drill passed", 12, '<path class="passed" d="M2 3h8l-4 8z"/>'),
    ("drill too slow", 12, '<path class="slow" d="M2 3h8l-4 8z"/>'),
    ("drill failed", 12, '<path class="failed" d="M2 3h8v8h-8zl8 8m0-8l-8 8"/>'),
    ("more before", 8, '<path class="older" d="M7 3v8l-5-4z"/>'),
)


def esc(text: object) -> str:
    """A text of the report, for an element or an attribute."""
    return html.escape(plain(text))


def _long(text: object, after: str) -> str:
    """One that may be broken after these characters."""
    return esc(text).replace(after, f"{after}<wbr>")


def _state(state: str) -> str:
    known = state if state in WORDS else "unknown"
    return f'<span class="state {known}">{WORDS[known]}</span>'


def _head(*names: str) -> str:
    return "<thead><tr>" + "".join(f'<th scope="col">{name}</th>' for name in names) + "</tr></thead>"


def findings(found: Sequence[Values], rows: Sequence[Values]) -> str:
    """The section of the findings; each leads to its database."""
    places = {(each["host"], each["database"]): place for place, each in enumerate(rows)}
    body = "".join(_finding(each, places.get((each["host"], each["database"]))) for each in found)
    return f"""<section aria-labelledby="findings"><h2 id="findings">Findings</h2>
<table id="found"{"" if found else " hidden"}><caption>What is not as it should be, the worst first.</caption>
{_head("Severity", "Where", "What was found", "What mends it")}
<tbody>{body}</tbody></table>
<p id="nofinding"{" hidden" if found else ""}>{"No finding fits the filter." if found else "There is no finding."}</p>
<p class="script" hidden><button type="button" id="all" hidden></button></p></section>"""


def _finding(finding: Values, place: int | None) -> str:
    where = _long(finding["host"], ".")
    if finding["database"]:
        name = esc(finding["database"])
        where += " / " + (name if place is None else f'<a href="#d{place}">{name}</a>')
    remedy = f'<div class="todo"><code>{esc(finding["remedy"])}</code></div>' if finding["remedy"] else ""
    return (
        f'<tr><td>{_state(finding["severity"])}</td><th scope="row">{where}</th>'
        f'<td><span class="evidence">{esc(finding["evidence"])}</span>'
        f"<small>{esc(finding['id'])} {esc(finding['control'])}</small></td><td>{remedy}</td></tr>\n"
    )


def databases(rows: Sequence[Values], generated: str, names: Mapping[str, str]) -> str:
    """The section of the databases, in the order given. names: of the controls, by id."""
    columns = (
        ("state", "State"),
        ("host", "Host"),
        ("database", "Database"),
        ("newest", "Newest verified backup"),
        ("until", "Any moment until"),
        ("size", "Size"),
        ("backups", "Backups"),
        ("drill", "Last drill"),
    )
    head = "".join(
        f'<th scope="col" data-sort="{key}"{_NUMBER if key in ("size", "backups") else ""}>{name}</th>'
        for key, name in columns
    )
    legend = "".join(
        f'<li><svg width="{width}" height="14" aria-hidden="true">{shape}</svg>{name}</li>'
        for name, width, shape in _LEGEND
    )
    nothing = "No database fits the filter." if rows else "There is no database."
    return f"""<section aria-labelledby="databases"><h2 id="databases">Databases</h2>
<div class="above script" hidden><ul id="legend" aria-label="Marks of the timelines">{legend}</ul>
<label class="span" for="span">Timelines show <select id="span"></select></label></div>
<p id="partly" class="quiet"></p>
<table id="list"><caption>All times are UTC, with their age at the time of the audit.</caption>
<thead><tr class="head">{head}<th scope="col">Timeline<div id="axis"></div></th></tr></thead>
{"".join(_database(each, place, generated, names) for place, each in enumerate(rows))}</table>
<p id="nodatabase"{" hidden" if rows else ""}>{nothing}</p></section>"""


def _database(database: Values, place: int, generated: str, names: Mapping[str, str]) -> str:
    asked = database["controls"]
    wrong = ", ".join(name for key, name in names.items() if asked.get(key) in SEVERITIES)
    unknown = ", ".join(name for key, name in names.items() if asked.get(key) == "unknown")
    state = _state(database["worst"]) + _small(wrong) + _small(unknown and f"unknown: {unknown}")
    path = f'<small class="path">{_long(database["path"], "/")}</small>' if database["path"] else ""
    return (
        f'<tbody id="d{place}"><tr class="row"><td>{state}</td><td>{_long(database["host"], ".")}</td>'
        f'<th scope="row">{esc(database["database"])}{path}</th>'
        f"<td>{_moment(database['newest'], generated, 'none')}</td>"
        f"<td>{_moment(database['proven_until'], generated, 'no archive')}</td>"
        f"<td{_NUMBER}>{_size(database['size'])}</td>"
        f"<td{_NUMBER}>{len(database['backups']):,}<small>{_size(database['stored_size'])} stored</small></td>"
        f'<td>{_drill(database, generated)}</td><td class="line"></td></tr></tbody>\n'
    )


def _small(text: object) -> str:
    return f"<small>{esc(text)}</small>" if text else ""


def _moment(moment: str | None, generated: str, nothing: str) -> str:
    return f"{age(moment, generated)}<small>{minute(moment)}</small>" if moment else nothing


def _size(count: int | None) -> str:
    return "unknown" if count is None else size_text(count)


def _drill(database: Values, generated: str) -> str:
    if not database["drills"]:
        return "never"
    last = last_drill(database)
    slow = ", too slow" if last["result"] == "passed" and last["in_time"] is False else ""
    return (
        f"{age(last['time'], generated)}<small>{esc(last['result'])} in {duration_text(last['seconds'])}{slow}</small>"
    )


def controls(report: Values) -> str:
    """The section of the controls: what each asks, and how often it found something."""
    found = Counter((each["id"], each["severity"]) for each in report["findings"])
    states = Counter(item for each in report["databases"] for item in each["controls"].items())
    rows = ""
    for control in report["controls"]:
        key = control["id"]
        counts = [found[key, severity] for severity in SEVERITIES] + [states[key, state] for state in ("unknown", "ok")]
        cells = "".join(
            f'<td class="n{" " + state if number else " quiet"}">{number:,}</td>'
            for state, number in zip(STATES, counts)
        )
        rows += (
            f'<tr><th scope="row">{esc(key)} {esc(control["name"])}</th><td class="wide">{esc(control["title"])}</td>'
            f"{cells}</tr>\n"
        )
    return f"""<section aria-labelledby="controls"><h2 id="controls">Controls</h2>
<div class="scroll" tabindex="0" role="region" aria-labelledby="controls"><table>
<caption>Findings of each severity, and databases of which nothing is known or that are in order.</caption>
{_head("Control", "What is asked", *(WORDS[state] for state in STATES))}
<tbody>{rows}</tbody></table></div></section>"""


def hosts(report: Values) -> str:
    """The section of the hosts, those that did not answer first."""
    order = sorted(report["hosts"], key=lambda each: (each["state"] == "answered", natural(each["host"]), each["kind"]))
    rows = ""
    for each in order:
        tone = "ok" if each["state"] == "answered" else "critical"
        known = [each["kind"], each["version"] or "unknown", each["sqlite"] or "unknown"]
        cells = "".join(f"<td>{esc(text)}</td>" for text in known)
        rows += (
            f'<tr><td><span class="state {tone}">{esc(each["state"])}</span></td>'
            f'<th scope="row">{esc(each["host"])}</th>{cells}<td class="wide">{esc(each["problem"])}</td></tr>\n'
        )
    return f"""<section aria-labelledby="hosts"><h2 id="hosts">Hosts</h2>
<div class="scroll" tabindex="0" role="region" aria-labelledby="hosts"><table>
<caption>Who was asked, those that did not answer first.</caption>
{_head("State", "Host", "Kind", "Litekeep", "SQLite", "Problem")}
<tbody>{rows}</tbody></table></div></section>"""
