#!/usr/bin/python
# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_restore
short_description: Restore SQLite databases from verified backups, or to a moment
version_added: 0.1.0
description:
  - Builds the restored file in the database's directory, proves it, and only then puts it in the database's place. What
    stood there is kept, all four files of it, in C(PATH.before-restore-TIME/).
  - A backup is proven against its manifest. A moment is built from a backup and the archived commits after it, each of
    them checked against its record, and the result passes SQLite's own checks.
  - Refuses while any process has the database open, and the service that archives it is one of them. It starts and
    stops no services; the role C(recovery) does.
  - Until the swap the database is as it was, whatever happens.
attributes:
  check_mode:
    description: Returns the plan, changes nothing. Fails where the backup cannot be had or the target not be used.
    support: full
    details:
      - A database that is open gives a warning instead of a failure, because earlier tasks that would stop its users
        did not stop them in check mode.
      - Damage of the stored bytes and lack of space show only when the file is built.
      - Nor is it known before then which state is clean. For V(clean) the plan is that of V(latest), with a warning.
  diff_mode:
    description: Shows the files that are replaced, and the moment, age and rows of what takes their place.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: partial
    details:
      - With O(state=prepared) and O(state=discarded). The other two are actions, and each run carries them out.
      - Not where V(clean) is asked for, which is looked for and built by each run.
options:
  databases:
    description:
      - The databases. The inventory's C(sqlite_backup_databases) can be handed in as it is.
      - When one fails, the others are done all the same. The module fails at its end, and names each that failed.
      - One name means one path.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What the database is called in the repository. Letters, digits, dots, dashes and underscores.
        type: str
        required: true
      path:
        description: The database file, by its full path. It is never created.
        type: str
        required: true
      to:
        description:
          - Which state. V(latest) is the newest that can be proven, the end of the archive or the newest backup.
          - A moment, as in V(2026-11-22T02:00:00Z) or V(2026-11-22T03:00:00+01:00). The offset from UTC is needed.
            Fails where that moment cannot be restored (in a gap, in the future, before the first backup), and names
            the nearest ones on both sides.
          - The id of a backup, or C(point.id) of an earlier RV(databases[].plan), which is that very state again.
          - V(clean) is the newest state that passes SQLite's checks, where damage may be in the archive and in backups,
            too. It is found by building it, so only O(state=prepared) and O(state=restored) can, and
            O(databases[].nearest) and O(databases[].timeline) do not go with it.
        type: str
        default: latest
      nearest:
        description: Take the nearest earlier moment where the one in O(databases[].to) cannot be restored.
        type: bool
        default: false
      timeline:
        description: The id of the timeline to take the moment from. It is chosen by itself when left out.
        type: str
      target:
        description:
          - Another path to restore to. Nothing may stand there.
          - The database's own place when left out.
        type: str
      staging:
        description:
          - Where the uncompressed copy lies while it is checked. It needs the size of the database.
          - The repository itself when left out.
        type: str
      deadline:
        description:
          - How long to wait for locks, and to copy a database that is not in WAL mode, for example V(90s) or V(15m).
          - 10 minutes when left out.
        type: str
      compression_level:
        description: Level of zstd, from V(1) to V(19). V(2) when left out.
        type: int
      services:
        description: Units that write to the database. This module starts and stops none; its messages name them.
        type: list
        elements: str
      objectives:
        description: What is promised for the database.
        type: dict
        suboptions:
          rpo:
            description: The most that may be lost, for example V(24h).
            type: str
          rto:
            description: The longest that a restore may take, for example V(30m).
            type: str
          drill_every:
            description: Within which every kept backup is restored into scratch and checked. V(30d) when left out.
            type: str
      archive:
        description: Whether every commit is archived. The service of the role C(sqlite_backup) does, not this module.
        type: bool
      archive_settings:
        description: How that service works. Durations such as V(90s), sizes in bytes or such as V(16MB) or V(512KiB).
        type: dict
        suboptions:
          interval:
            description: How often new commits are stored. V(1s) when left out.
            type: str
          heartbeat:
            description: How often it is recorded that there was no further commit. V(10s) when left out.
            type: str
          relief:
            description: The size at which the WAL is made to start again from its beginning. V(64MB) when left out.
            type: str
          max_wal:
            description: The size of the WAL at which the archive gives way, with a gap. V(1GB) when left out.
            type: str
          reserve:
            description: Free space in the repository below which nothing is archived. V(1GB) when left out.
            type: str
          roll:
            description:
              - The age at which a timeline goes on in a new one, so that retention can remove old ones. V(0) is never,
                V(1d) when left out.
            type: str
      time_columns:
        description: The column of each table that holds its times, by the table's name. For M(sqlite_export).
        type: dict
      remotes:
        description: Where the backups go off the host. The service of the role C(sqlite_backup) sends them.
        type: list
        elements: str
      retention:
        description:
          - How long backups and the archive are kept. For M(sqlite_retention). For ever when left out.
          - Keys are C(keep_last), C(keep_hourly), C(keep_daily), C(keep_weekly), C(keep_monthly), C(keep_yearly),
            C(keep_within), C(archive_window) and C(min_verified).
        type: dict
      assertions:
        description: SQL whose first value must be true of each restored state. For M(sqlite_drill).
        type: list
        elements: str
      schedule:
        description: Used by the role C(sqlite_backup), ignored here.
        type: str
      health_check:
        description: Used by the role C(recovery), ignored here.
        type: dict
  repository:
    description: The directory of the backups, by its full path.
    type: str
    default: /var/lib/litekeep
  host:
    description:
      - The host's folder in the repository.
      - The node's own name up to the first dot when left out. The role and the playbooks use C(inventory_hostname).
    type: str
  from:
    description:
      - The name of one of O(remotes), or V(any) for the first that has the restore point, in their order.
      - What the point needs is brought into the repository's file system, and removed afterwards.
      - The repository of the host when left out.
    type: str
  remotes:
    description:
      - Places off the host, by their names. C(rclone) is the path of a configuration file of rclone on the host, and
        C(path) the folder there, as rclone names it (V(vault:app1)), that holds the database's own folder.
      - C(incoming), C(timeout) and the other keys are those of C(/etc/litekeep/litekeep.json).
      - Only used with O(from).
    type: dict
  state:
    description:
      - V(restored) builds, proves and swaps. What V(prepared) has left ready is used.
      - V(prepared) builds and proves beside the database, which may stay in use. Nothing is replaced.
      - V(rolled_back) puts back what the last restore to that place replaced; what it had put there is kept in
        C(PATH.failed-restore-TIME/). O(databases[].to), O(repository) and O(host) are not looked at.
      - V(discarded) removes what V(prepared) has left ready. The database is as it was, and so are those options.
    type: str
    choices: [restored, prepared, rolled_back, discarded]
    default: restored
requirements:
  - python3-zstandard on the host
  - rclone on the host, for O(from)
seealso:
  - module: sqlite_backup_info
author:
  - Litekeep contributors (@litekeep)
"""

EXAMPLES = r"""
- name: Restore the newest backup beside the live database, to look into it
  sqlite_restore:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
        target: /var/tmp/events-of-yesterday.db
    host: "{{ inventory_hostname }}"

- name: Look at the moment before the mistake, beside the live database
  sqlite_restore:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
        to: "2026-11-22T14:29:00+01:00"
        target: /var/tmp/events-before.db
    host: "{{ inventory_hostname }}"
  register: before

- name: Say which moment that is
  ansible.builtin.debug:
    msg: "{{ before.databases[0].plan.point.recovered }}, and the next one is {{ before.databases[0].plan.point.next }}"

- name: Build and prove while the service still runs
  sqlite_restore:
    databases: "{{ sqlite_backup_databases | selectattr('name', 'equalto', 'events') }}"
    host: "{{ inventory_hostname }}"
    state: prepared

- name: Build the newest state that is sound, where the damage may have got into the archive
  sqlite_restore:
    databases: "{{ sqlite_backup_databases | map('combine', {'to': 'clean'}) }}"
    host: "{{ inventory_hostname }}"
    state: prepared

- name: Restore the last that arrived off the host, on a new server
  sqlite_restore:
    databases: "{{ sqlite_backup_databases }}"
    host: "{{ inventory_hostname }}"
    from: any
    remotes:
      vault:
        rclone: /run/litekeep-recovery/vault.conf
        path: "vault:"

- name: Give up what was prepared
  sqlite_restore:
    databases: "{{ sqlite_backup_databases | selectattr('name', 'equalto', 'events') }}"
    state: discarded

- name: Put back what the last restore replaced
  sqlite_restore:
    databases:
      - name: events
        path: /var/lib/mcp/events.db
    state: rolled_back
"""

RETURN = r"""
databases:
  description: What became of each database, in the order of the list.
  returned: always
  type: list
  elements: dict
  contains:
    database:
      description: Its name.
      returned: always
      type: str
      sample: events
    action:
      description: What was asked for, V(restore), V(prepare), V(rollback) or V(discard).
      returned: success
      type: str
      sample: restore
    changed:
      description: Whether files were written; in check mode, whether they would be.
      returned: always
      type: bool
      sample: true
    plan:
      description:
        - What was found before anything was done. C(age) of the state is in seconds, C(prepared) says whether the file
          stood ready.
        - C(point) is the restore point. C(requested) is the moment that was asked for, none for V(latest) and ids;
          C(recovered) the moment whose state this is; C(next) the first later state that can be restored;
          C(last_commit_observed) when the archive saw the last commit in it. C(timeline) is none and C(segments) 0
          where the backup C(base) alone is it.
        - Where V(clean) was asked for, C(refused) says which newer states do not pass, and why.
        - For V(rollback) only C(target), and C(from), the folder with the files that come back. For V(discard) the
          folder that goes, none when there is none.
      returned: success
      type: dict
      sample:
        target: /var/lib/mcp/events.db
        replaces: [/var/lib/mcp/events.db, /var/lib/mcp/events.db-wal]
        in_use_by: ["mcp-server (process 811, /var/lib/mcp/events.db)"]
        hidden_processes: 0
        prepared: false
        age: 3600.217
        point:
          id: 20261122T015900.001Z@2.811
          requested: "2026-11-22T03:00:00.000Z"
          recovered: "2026-11-22T03:00:00.000Z"
          next: "2026-11-22T03:00:00.412Z"
          last_commit_observed: "2026-11-22T02:59:58.120Z"
          timeline: 20261122T015900.001Z
          segments: 3605
          base: 20261122T020000.123Z-full
        backup:
          id: 20261122T020000.123Z-full
          snapshot: "2026-11-22T02:00:00.150Z"
          size: 41287680
          stored_size: 8617211
          rows: {events: 100000, notes: 2000}
    result:
      description:
        - What was done, none in check mode.
        - C(quarantine) is the folder with the replaced files, none when there were none. C(point) is as in
          RV(databases[].plan).
      returned: success
      type: dict
      sample:
        target: /var/lib/mcp/events.db
        backup: 20261122T020000.123Z-full
        quarantine: /var/lib/mcp/events.db.before-restore-20261122T030000.217Z
        swapped: true
        notes: []
    remote:
      description: The one of O(remotes) that it came from.
      returned: success, with O(from)
      type: str
      sample: vault
    passed_over:
      description: Why remotes before that one could not give it, a line each.
      returned: success, with O(from)
      type: list
      elements: str
      sample: []
    summary:
      description: The result in words, line by line.
      returned: success
      type: list
      elements: str
      sample: ["events: /var/lib/mcp/events.db is restored from 20261122T020000.123Z-full"]
    error:
      description: Why nothing was replaced. C(exit_code) is the one that the command C(litekeep) would end with.
      returned: failure
      type: dict
      sample:
        kind: in_use
        exit_code: 6
        message: /var/lib/mcp/events.db is in use
        found: mcp-server (process 811, /var/lib/mcp/events.db)
        safe: the database is as it was
        next: systemctl stop mcp-server.service
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.litekeep import answers, dataanswers, remoteanswers, remoterender, render
from ansible.module_utils.litekeep.config import Database
from ansible.module_utils.litekeep.errors import UsageError
from ansible.module_utils.litekeep.pull import Choice
from ansible.module_utils.litekeep.timefmt import duration_text, from_text, now
from ansible.module_utils.litekeep_module import (
    SILENT,
    Run,
    Values,
    databases_option,
    repository_options,
    rows_text,
    warn_of_openers,
)

ACTIONS = {"restored": "restore", "prepared": "prepare"}
CLEAN = "clean"


def files(names: list[str]) -> list[str]:
    """The files in place, with their sizes."""
    return [f"{name}: {os.lstat(name).st_size} bytes" for name in names] or ["nothing"]


def restored(plan: Values) -> list[str]:
    """What takes their place."""
    backup, point = plan["backup"], plan["point"]
    return [
        f"{plan['target']}: {backup['size']} bytes",
        f"backup: {backup['id']}" + (f", and {point['segments']} segments of the archive" if point["segments"] else ""),
        f"state of: {point['recovered']}, {duration_text(max(0.0, plan['age']))} ago",
        f"rows: {rows_text(backup['rows'])}" + (" in the backup" if point["segments"] else ""),
        *(f"kept: {name}, in {plan['target']}.before-restore-TIME/" for name in plan["replaces"]),
    ]


def main() -> None:
    """Predict, act unless in check mode, report."""
    state = {"type": "str", "choices": [*ACTIONS, "rolled_back", "discarded"], "default": "restored"}
    more = {
        "to": {"type": "str", "default": "latest"},
        "nearest": {"type": "bool", "default": False},
        "timeline": {"type": "str"},
        "target": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "databases": databases_option(**more),
            **repository_options(),
            "from": {"type": "str"},
            "remotes": {"type": "dict"},
            "state": state,
        },
        required_by={"from": "remotes"},
        supports_check_mode=True,
    )
    run = Run(module, *more)
    config = run.config()
    repository, origin = run.repository(), module.params["from"]
    action = ACTIONS.get(module.params["state"], "")

    def planned(database: Database, keys: Values) -> Values:
        given = (keys["to"], keys["target"], "plan", keys["nearest"], keys["timeline"])
        answer = answers.restore(repository, database, SILENT, *given)
        answer["changed"] = action == "restore" or not answer["plan"]["prepared"]
        return answer

    def clean(database: Database, keys: Values) -> Values:
        """The plan of what is built already, as it cannot be known otherwise."""
        target = keys["target"]
        if keys["nearest"] or keys["timeline"] is not None:
            raise UsageError(
                f"{database.name}: to is clean, which is looked for in every timeline",
                found="nearest or timeline beside it",
                safe="nothing was changed",
                next_step="leave them out, or name a moment in to",
            )
        if module.check_mode:
            module.warn(f"{database.name}: which state is clean shows when it is built; this is the plan of latest")
            answer, refused = answers.restore(repository, database, SILENT, "latest", target, "plan", True), []
        else:
            found = dataanswers.prepare_clean_answer(repository, database, target, SILENT)["plan"]
            answer = answers.restore(repository, database, SILENT, found["point"]["id"], target, "plan")
            # By its id it is the same state, but no longer up to when that was the state.
            answer["plan"]["point"] = found["point"]
            answer["plan"]["age"] = round((now() - from_text(found["point"]["recovered"])).total_seconds(), 3)
            refused = found["refused"]
        answer["plan"]["refused"] = refused
        answer["changed"] = True
        return answer

    def restore(database: Database, keys: Values) -> Values:
        target = keys["target"]
        answer = (clean if keys["to"] == CLEAN else planned)(database, keys)
        plan = answer["plan"]
        answer["action"] = action
        if action == "restore":
            warn_of_openers(module, plan["target"])
            run.diff(database.name, files(plan["replaces"]), restored(plan))
        if not module.check_mode:
            # By its id: a restore point that came since is not the one that was planned.
            done = answers.restore(repository, database, SILENT, plan["point"]["id"], target, action)
            # The same state; but only the plan knows which moment was asked for.
            answer["result"] = {**done["result"], "point": plan["point"]}
        return {**answer, "summary": list(render.restore(answer))}

    def bring(database: Database, keys: Values) -> Values:
        """Out of a remote."""
        choice = Choice(keys["to"], keys["nearest"], keys["timeline"])
        remotes = remoteanswers.remotes_of(config, database, origin)

        def work(what: str) -> Values:
            return remoteanswers.restore_from(repository, database, remotes, choice, keys["target"], what, SILENT)

        # Only where it is asked for: each look at a remote takes its time.
        answer = work("plan") if module.check_mode or module._diff else {}
        if answer and action == "restore":
            warn_of_openers(module, answer["plan"]["target"])
            run.diff(database.name, files(answer["plan"]["replaces"]), restored(answer["plan"]))
        if not module.check_mode:
            answer = work(action)
        answer["action"] = action
        answer["changed"] = action == "restore" or not answer["plan"]["prepared"]
        return {**answer, "summary": list(remoterender.restored(answer))}

    def roll_back(database: Database, keys: Values) -> Values:
        answer = answers.rollback(database, SILENT, keys["target"], dry_run=True)
        place, kept = answer["plan"]["target"], answer["plan"]["from"]
        warn_of_openers(module, os.path.realpath(place))
        run.diff(database.name, [f"{place}: as the last restore left it"], [f"{place}: as it was, out of {kept}"])
        if not module.check_mode:
            answer = answers.rollback(database, SILENT, keys["target"])
        return {**answer, "summary": list(render.restore(answer))}

    def discard(database: Database, keys: Values) -> Values:
        answer = answers.discard(database, keys["target"], module.check_mode)
        if answer["changed"]:
            run.diff(database.name, [f"{answer['plan']['from']}: the prepared restore"], ["nothing"])
        return {**answer, "summary": list(render.restore(answer))}

    build = bring if origin else restore
    run.each(build if action else roll_back if module.params["state"] == "rolled_back" else discard)


if __name__ == "__main__":
    main()
