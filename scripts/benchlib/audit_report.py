# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The printed report of ``scripts/bench audit``, and its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import table

if TYPE_CHECKING:
    from .audit import AuditResults

NOTES = """\
The hosts are simulated: names in an inventory, all of them this machine, each with a repository of its own. So what \
the hosts do themselves is paid here, too, and no time is spent on a network.
"ping" is Ansible's own module on the same hosts with the same settings: what a task costs that does nothing. Facts \
are not gathered by either.
Memory is the largest sum of what the processes have for themselves (RssAnon), all forks included.
The audit of a repository reads and proves every manifest, and writes all four reports; beside it, reading the same \
files and nothing else.
"""


def lines(results: AuditResults) -> list[str]:
    """The whole report; what was not reached is left out."""
    options = results.options
    found = table.titled("Audit of a fleet")
    found += table.named(results.machine)
    found += table.named({"settings": f"{options['backups']} backups a database, {options['forks']} forks"})
    rows = {}
    for hosts, (ping, audit) in results.fleets.items():
        rows[f"{hosts} hosts"] = (
            f"{ping.wall:.1f} s ({ping.wall / hosts * 1000:.0f} ms a host)",
            f"{audit.wall:.1f} s ({audit.wall / hosts * 1000:.0f} ms a host)",
            f"{audit.wall / ping.wall:.2f}, {audit.anonymous / 1e6:.0f} MB",
        )
    if rows:
        found += ["", *table.columns(("ping", "audit", "audit / ping, memory"), rows)]
    if results.repository:
        read, audit = results.repository
        cells = (
            f"{read.wall:.2f} s",
            f"{audit.wall:.2f} s",
            f"{audit.wall / read.wall:.2f}, {audit.anonymous / 1e6:.0f} MB",
        )
        label = f"{options['databases']} databases"
        found += ["", *table.columns(("read only", "audit --repository", "audit / read, memory"), {label: cells})]
    found += table.titled("Notes")
    for note in NOTES.splitlines():
        found += table.wrapped("- " + note)
    wrong = [f"WRONG: {failure}" for failure in results.failures]
    return [*found, "", *(wrong or ["All reports held all hosts, databases and backups."])]


_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _FOOT = 640, 300, 70, 90, 30, 50


def picture(results: AuditResults) -> str:
    """Milliseconds a host, by the number of hosts: two lines that differ in shape, not only in colour. SVG."""
    series = {
        "audit": [(hosts, audit.wall / hosts * 1000) for hosts, (_ping, audit) in results.fleets.items()],
        "ping": [(hosts, ping.wall / hosts * 1000) for hosts, (ping, _audit) in results.fleets.items()],
    }
    most = max((value for points in series.values() for _hosts, value in points), default=1.0) * 1.15
    widest = max(results.fleets, default=1)

    def x(hosts: int) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * hosts / widest, 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _FOOT - (_HEIGHT - _TOP - _FOOT) * value / most, 1)

    text = 'font-family="sans-serif" font-size="13" fill="#222"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        "<title>Milliseconds a host, by the number of hosts</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<path d="M{_LEFT} {_TOP}V{y(0)}H{_WIDTH - _RIGHT}" fill="none" stroke="#222"/>',
        f'<text x="{_LEFT}" y="{_TOP - 10}" {text}>ms a host</text>',
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 10}" text-anchor="end" {text}>hosts</text>',
    ]
    for step in range(1, 4):
        value = round(most / 4 * step, -1) or most / 4 * step
        parts.append(f'<path d="M{_LEFT} {y(value)}H{_WIDTH - _RIGHT}" stroke="#ccc" stroke-dasharray="2 4"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y(value) + 4}" text-anchor="end" {text}>{value:.0f}</text>')
    for hosts in results.fleets:
        parts.append(f'<text x="{x(hosts)}" y="{y(0) + 18}" text-anchor="middle" {text}>{hosts}</text>')
    for name, points in series.items():
        dash = "" if name == "audit" else ' stroke-dasharray="6 4"'
        path = " ".join(f"{x(hosts)},{y(value)}" for hosts, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="#0b5394" stroke-width="2"{dash}/>')
        inside = "#fff" if dash else "#0b5394"
        parts += [
            f'<circle cx="{x(hosts)}" cy="{y(value)}" r="4" fill="{inside}" stroke="#0b5394"/>'
            for hosts, value in points
        ]
        if points:
            parts.append(f'<text x="{x(points[-1][0]) + 12}" y="{y(points[-1][1]) + 4}" {text}>{name}</text>')
    return "\n".join([*parts, "</svg>", ""])
