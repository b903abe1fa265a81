# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The printed report of ``scripts/bench push``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import table
from .push_results import DAY, LEAST, PUSH_EVERY, RELIEF, SEAL_EVERY
from .push_seal import IDLE_HOSTS
from .stats import spread

if TYPE_CHECKING:
    from .push_results import PushResults

NOTES = f"""\
Server and hosts share this machine's cores: wall times are longer than with machines of their own. Processor times \
are sums over the span, divided by the pushes in it: of sshd with all its sessions, ended ones included, and of \
"litekeep push" with rclone. With UsePAM, \
what it makes other services do (systemd-logind) is not counted.
A push is a pass over the archive that sent something: what waits goes in one batch of segments, and one piece of \
records that speaks of them; what comes meanwhile follows in the same pass. Every 32nd piece is followed by one that \
covers them, and the first push in each minute sends the heartbeat. Each file is read again. Each call of rclone is a \
connection of its own. What a push that failed had to send is sent again by the next one.
"seal" is a process of its own each time: what it takes to start is apart. A host with nothing new is one of \
{IDLE_HOSTS} copies. Upon records: made ones, so that nobody waits for a day; all that seal reads of them is real.
Arithmetic: hosts = (1 - start / {SEAL_EVERY} s) / (push / {PUSH_EVERY} s + seal / {SEAL_EVERY} s), a segment a \
second, all of them always with something new, and nothing else on the core: no full backups, no restores. At best: \
{LEAST:.1f} connections a push, which is one batch, one piece, nothing meanwhile. Files, \
connections and bytes grow with the number of pushes; sealed rounds, with the WAL. A sealed round is one file; of the \
round that goes on, each segment has its own.
"""


def lines(results: PushResults) -> list[str]:
    """The whole report; sections that were not reached are left out."""
    options = results.options
    found = table.titled("Hosts that push to one backup server")
    found += table.named(results.machine)
    found += table.named(
        {
            "databases": f"{results.database / 1e6:.1f} MB each, seed {options['seed']}",
            "load": f"{options['hosts']} hosts, {options['rate']:g} commits/s each, {options['seconds']:g} s",
            "settings": f"push {options['interval']} s, seal {options['seal']:g} s, "
            f"relief {options['relief'] / 1e6:g} MB, UsePAM {'no' if options['no_pam'] else 'yes'}",
        }
    )
    if results.complete:
        found += [*_pushes(results), *_sealing(results), *_standing(results), *_arithmetic(results)]
    found += table.titled("Notes")
    for note in NOTES.splitlines():
        found += table.wrapped("- " + note)
    wrong = [f"WRONG: {failure}" for failure in results.failures]
    return [*found, "", *(wrong or ["All results were right."])]


def _milliseconds(value: float) -> str:
    return f"{value * 1000:.1f} ms"


def _pushes(results: PushResults) -> list[str]:
    files = {f"  {kind}": f"{count:.2f}, {size / 1000:.2f} kB each" for kind, (count, size) in results.files().items()}
    count = sum(count for count, _size in results.files().values())
    sent = sum(count * size for count, size in results.files().values())
    return [
        *table.titled(f"A push: {len(results.done)} in {results.seconds:.0f} s"),
        *table.named(
            {
                "wall time": table.ranged(spread([push.wall for push in results.done]), _milliseconds),
                "files": f"{count:.2f}, together {sent / 1000:.2f} kB",
                **files,
                "connections": f"{results.calls:.2f}",
                "failed": f"{len(results.failed)}{', the first: ' + results.failed[0] if results.failed else ''}",
                "CPU of the server": f"{_milliseconds(results.server_cpu)}; for a connection "
                f"{_milliseconds(results.connection_cpu)}",
                "CPU of the host": _milliseconds(results.sender_cpu),
            }
        ),
    ]


def _sealing(results: PushResults) -> list[str]:
    new = sum(look.hosts for look in results.looks) / len(results.looks)
    segments = sum(look.segments for look in results.looks) / max(1, sum(look.hosts for look in results.looks))
    histories = {
        f"  upon {each.records:,} records": f"{_milliseconds(each.cpu)} with {each.segments} segments new"
        for each in results.histories
    }
    return [
        *table.titled(f"litekeep seal, CPU: {len(results.looks)} looks, {new:.1f} hosts with something new"),
        *table.named(
            {
                "start": _milliseconds(results.start),
                "host, nothing new": _milliseconds(results.idle),
                "host, something new": f"{_milliseconds(results.sealing)}, {segments:.1f} segments each",
                **histories,
            }
        ),
    ]


def _standing(results: PushResults) -> list[str]:
    count = len(results.standing)

    def mean(name: str) -> str:
        return f"{sum(getattr(one, name) for one in results.standing) / count:.1f}"

    return [
        *table.titled(f"What stands there of a host, sealed, after {results.written_for:.0f} s"),
        *table.named(
            {
                "segments": f"{mean('segments')}, in {mean('rounds')} merged files and {mean('single')} of their own",
                "other files": f"{mean('other')} of the timeline, {mean('backup')} of the backup",
                "not taken over": f"{mean('waiting')}",
            }
        ),
    ]


def _arithmetic(results: PushResults) -> list[str]:
    carried = {
        f"{label}, {each.records:,} records": f"{results.hosts_per_core(pushing, each.cpu):.0f}"
        f" ({_milliseconds(pushing / PUSH_EVERY)} + {_milliseconds(each.cpu / SEAL_EVERY)} a second each)"
        for label, pushing in (("hosts", results.server_cpu), ("best", results.least_cpu))
        for each in results.histories
    }
    calls = results.calls * DAY / PUSH_EVERY
    return [
        *table.titled(f"Arithmetic: one core, a push every {PUSH_EVERY} s, a seal every {SEAL_EVERY} s"),
        *table.named(
            {
                "pushes a second": f"{1 / results.server_cpu:.1f}, at best {1 / results.least_cpu:.1f}, nothing sealed",
                **carried,
                "files arriving": f"{results.arriving:,.0f} for a host and day",
                "files left": f"{results.rounds:.1f} for a host and day, a round of {RELIEF / 1e6:g} MB each",
                "archive": f"{results.daily_bytes / 1e6:,.0f} MB for a host and day",
                "connections": f"{calls:,.0f} for a host and day, at best {LEAST * DAY / PUSH_EVERY:,.0f}",
            }
        ),
    ]
