# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The audit's page: one file of HTML that loads nothing, for the operator and for whoever asks for evidence.

Findings and tables can be read without the script, which adds the filter, sorting and timelines.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from . import __version__
from .controls import SEVERITIES
from .reportdata import embedded
from .reportscript import SCRIPT
from .reportstyle import STYLE
from .reporttables import controls, databases, esc, findings, hosts
from .reporttext import WORDS, Values, counted, databases_of, findings_of, minute
from .timefmt import from_text

_HATCH = """<svg width="0" height="0" aria-hidden="true" class="unseen"><defs>
<pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse">
<rect width="5" height="5"/><path class="hatch" d="M-1 6L6 -1M-1 1L1 -1M4 6L6 4"/></pattern></defs></svg>"""
# Not strftime's, which follow the locale.
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
           "December")  # fmt: skip


def page(report: Values) -> str:
    """The whole page. Equal reports make equal pages."""
    rows, found = databases_of(report), findings_of(report)
    names = {each["id"]: each["name"] for each in report["controls"]}
    verdict = headline(report)
    made = f"{minute(report['generated'])} UTC"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{esc(verdict)}: Litekeep audit, {made}</title>
<style>{STYLE}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the findings</a>
{_HATCH}
{_header(report, verdict)}
<main id="main" tabindex="-1">
{_filter(report)}
{findings(found, rows)}
{databases(rows, report["generated"], names)}
{controls(report)}
{hosts(report)}
</main>
<footer>
<p class="quiet">Made by Litekeep {esc(__version__)}. All times are UTC; ages are those at the time of the audit.</p>
</footer>
<p id="said" class="unseen" role="status"></p>
<script type="application/json" id="data">{embedded(report, rows, found)}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""


def policy() -> str:
    """The Content-Security-Policy: the page's own style and script, and nothing else from anywhere."""
    return (
        f"default-src 'none'; script-src '{_hash(SCRIPT)}'; style-src '{_hash(STYLE)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def headline(report: Values) -> str:
    """The verdict: ``Compliant``, ``Not compliant``, or compliant with what the report does not fail on."""
    if not report["compliant"]:
        return "Not compliant"
    rest = _numbers(report, ("critical", "warning"))
    return f"Compliant, with {rest}" if rest else "Compliant"


def _tone(report: Values) -> str:
    if not report["compliant"]:
        return "critical"
    return "warning" if _numbers(report, ("critical", "warning")) else "ok"


def _numbers(report: Values, severities: Sequence[str]) -> str:
    """``2 critical findings, 1 warning and 4 notices``, of those that there are."""
    count = {severity: report["summary"][severity] for severity in severities}
    parts = [
        counted(number, "critical finding" if severity == "critical" else severity)
        for severity, number in count.items()
        if number
    ]
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _header(report: Values, verdict: str) -> str:
    summary = report["summary"]
    moment = from_text(report["generated"])
    made = f"{moment.day} {_MONTHS[moment.month - 1]} {moment:%Y, %H:%M} UTC"
    silent = sum(host["state"] != "answered" for host in report["hosts"])
    found = _numbers(report, SEVERITIES)
    rule = {
        "never": "No finding fails this audit",
        "critical": "A critical finding fails this audit",
        "warning": "A critical finding or a warning fails this audit",
        "notice": "Any finding fails this audit",
    }[report["fail_on"]]
    asked = counted(summary["hosts"], "host") + (f" ({silent:,} did not answer)" if silent else "")
    numbers = [
        ("Databases", summary["databases"], ""),
        ("without critical finding or warning", summary["green"], "ok"),
        ("Critical findings", summary["critical"], "critical"),
        ("Warnings", summary["warning"], "warning"),
        ("Notices", summary["notice"], "notice"),
        ("Hosts", summary["hosts"], ""),
        ("that did not answer", silent, "critical"),
    ]
    sums = "".join(
        f'<div><dt>{name}</dt><dd class="{tone if number else "nil"}">{number:,}</dd></div>'
        for name, number, tone in numbers
    )
    return f"""<header>
<p class="kind">Litekeep audit of {counted(summary["databases"], "database")} on {asked}</p>
<h1 class="{_tone(report)}">{esc(verdict)}</h1>
<p class="lead">{found or "Nothing was found that is not as it should be"}. {rule}.</p>
<p class="quiet">Made <time datetime="{esc(report["generated"])}">{made}</time><span id="since"></span></p>
<dl class="sums">{sums}</dl>
<nav aria-label="Contents"><ul>
<li><a href="#findings">Findings</a></li><li><a href="#databases">Databases</a></li>
<li><a href="#controls">Controls</a></li><li><a href="#hosts">Hosts</a></li>
</ul></nav>
</header>"""


def _filter(report: Values) -> str:
    chips = "".join(
        f'<label class="chip"><input type="checkbox" value="{state}">'
        f'<span class="state {state}">{WORDS[state]}</span></label>'
        for state in (*SEVERITIES, "ok")
    )
    options = "".join(
        f'<option value="{esc(control["id"])}">{esc(control["id"])} {esc(control["name"])}</option>'
        for control in report["controls"]
    )
    return f"""<p id="plain" class="quiet">The filter, sorting and timelines need JavaScript.</p>
<form id="filter" class="script" role="search" aria-label="Filter findings and databases" hidden>
<label for="q">Filter <input type="search" id="q" placeholder="host, database or path" autocomplete="off"
spellcheck="false"></label>
<fieldset><legend>State</legend>{chips}</fieldset>
<label for="control">Control <select id="control"><option value="">all</option>{options}</select></label>
<button type="button" id="clear" hidden>Clear <span class="unseen">the filter</span></button>
<output id="count" for="q control" aria-live="polite"></output>
</form>"""
