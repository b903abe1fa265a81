# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rooms of ``scripts/bench``.

cli: words in, and the list of commands. backup, archive, push, soak: the commands of those names, each with its
results and its report beside it. place: the working directory and what runs in it. measure: one process and what it
took. stats: medians and ratios. writer, load: the application beside a backup; archive_writer, archive_load,
soak_writer: those beside an archiver. archive_ways, archive_peer, archive_watch: how each archiver is started, had
and seen. push_server, push_keeper, push_host, push_sender, push_seal, push_history: both ends of pushes, and what
each took. compare: row for row. machine: what it was measured on. table: how it is printed.
"""

from __future__ import annotations
