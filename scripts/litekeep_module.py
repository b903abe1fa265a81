# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Litekeep's Ansible modules share: parameters in, one result a database, one failure at the end.

All that Litekeep does stands in the engine beside this file; here is only how it is told to Ansible.
"""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from .litekeep.config import Config, Database, config_from, database_from
from .litekeep.errors import LitekeepError, UsageError
from .litekeep.openers import find_openers
from .litekeep.progress import Progress
from .litekeep.repository import Repository

Values = dict[str, Any]
# Keys of the inventory's list that only roles use. They are let through, so that one list serves all.
_FOR_ROLES = ("schedule", "health_check")
_OBJECTIVES = ("rpo", "rto", "drill_every")
_ARCHIVE_SETTINGS = ("interval", "heartbeat", "relief", "max_wal", "reserve", "roll")
SILENT = Progress()


def databases_option(**more: Values) -> Values:
    """The option ``databases``: a database's policy as the engine knows it, and ``more`` keys of one module."""
    keys = {
        "name": {"type": "str", "required": True},
        "path": {"type": "str", "required": True},
        "staging": {"type": "str"},
        "deadline": {"type": "str"},
        "compression_level": {"type": "int"},
        "services": {"type": "list", "elements": "str"},
        "objectives": {"type": "dict", "options": {key: {"type": "str"} for key in _OBJECTIVES}},
        "archive": {"type": "bool"},
        "archive_settings": {"type": "dict", "options": {key: {"type": "str"} for key in _ARCHIVE_SETTINGS}},
        "time_columns": {"type": "dict"},
        "remotes": {"type": "list", "elements": "str"},
        "retention": {"type": "dict"},
        "assertions": {"type": "list", "elements": "str"},
        "schedule": {"type": "str"},
        "health_check": {"type": "dict"},
        **more,
    }
    return {"type": "list", "elements": "dict", "required": True, "options": keys}


def repository_options() -> Values:
    """The options that say where the backups stand."""
    return {"repository": {"type": "str", "default": "/var/lib/litekeep"}, "host": {"type": "str"}}


def writing_options() -> Values:
    """The options of modules that write rows into the live database."""
    return {
        "triggers": {"type": "str", "choices": ["fire", "skip"], "default": "fire"},
        "foreign_keys": {"type": "str", "choices": ["check", "ignore"], "default": "check"},
    }


class Run:
    """One run of a module: does its work for each database, whatever happens to the others."""

    def __init__(self, module: AnsibleModule, *own_keys: str) -> None:
        """own_keys: keys of ``databases`` that the module itself reads; the engine's policy has none of them."""
        self.module = module
        self.check_mode: bool = module.check_mode
        self._not_policy = ("name", *own_keys, *_FOR_ROLES)
        self._diffs: list[Values] = []

    def config(self) -> Config:
        """Where the parameters say that the backups stand."""
        host = self.module.params["host"] or socket.gethostname().split(".")[0]
        where = {
            "repository": self.module.params["repository"],
            "host": host,
            "remotes": self.module.params.get("remotes"),
        }
        config: Config = self.parsed(lambda: config_from(where, "the module's parameters"))
        return config

    def repository(self) -> Repository:
        """The repository that the parameters name."""
        config = self.config()
        return Repository(config.repository, config.host)

    def parsed(self, parse: Callable[[], Any]) -> Any:
        """A value out of the module's own parameters; the module fails when it cannot be used."""
        try:
            return parse()
        except LitekeepError as problem:
            self.module.fail_json(msg=sentence(problem.to_json()), error=problem.to_json())

    def diff(self, header: str, before: Iterable[str], after: Iterable[str]) -> None:
        """What changes, in lines, for ``--diff``."""
        texts = {"before": "".join(f"{line}\n" for line in before), "after": "".join(f"{line}\n" for line in after)}
        self._diffs.append({"before_header": header, "after_header": header, **texts})

    def each(self, work: Callable[[Database, Values], Values]) -> NoReturn:
        """Call ``work`` for every database and leave the module; ``work`` gets the policy and the raw keys."""
        given = self.module.params["databases"]
        if not given:
            self.module.warn("databases is an empty list: nothing was done, and nothing is protected by this task")
        self._one_name_one_path(given)
        results = [self._one(work, values) for values in given]
        failed = [result for result in results if "error" in result]
        answer: Values = {"changed": any(result.get("changed") for result in results), "databases": results}
        if self._diffs:
            answer["diff"] = self._diffs
        if failed:
            lines = [f"{result['database']}: {sentence(result['error'])}" for result in failed]
            self.module.fail_json(msg="\n".join(lines), **answer)
        self.module.exit_json(**answer)

    def policies(self, given: list[Values]) -> list[Database]:
        """All databases that were handed in, understood; the module fails when one cannot be."""
        self._one_name_one_path(given)
        return [
            self.parsed(lambda values=values: database_from(values["name"], self._policy(values))) for values in given
        ]

    def _policy(self, values: Values) -> Values:
        return {key: value for key, value in values.items() if key not in self._not_policy}

    def _one_name_one_path(self, given: list[Values]) -> None:
        paths: dict[str, str] = {}
        for values in given:
            name, path = values["name"], values["path"]
            if paths.setdefault(name, path) != path:
                self.module.fail_json(
                    msg=f"databases has two paths called {name}. Found: {paths[name]} and {path}. Next: give one of "
                    "them another name; under one name their backups would end up in one row. Nothing was done."
                )

    def _one(self, work: Callable[[Database, Values], Values], values: Values) -> Values:
        try:
            return work(database_from(values["name"], self._policy(values)), values)
        except LitekeepError as problem:
            return {"database": values["name"], "changed": False, "error": problem.to_json()}
        except Exception as problem:  # noqa: BLE001 (a fault of our own must not keep the other databases waiting)
            fault = LitekeepError("Litekeep itself failed", found=repr(problem), next_step="report this as a bug")
            error = {**fault.to_json(), "traceback": traceback.format_exc()}
            return {"database": values["name"], "changed": False, "error": error}


def sentence(error: Values) -> str:
    """An engine's error in one line: what happened, what was found, what to do."""
    parts = [str(error["message"])]
    parts += [f"{label}: {error[key]}" for label, key in (("Found", "found"), ("Next", "next")) if key in error]
    return ". ".join(parts) + "."


def full_path(value: str, key: str) -> str:
    """A path of the host, which must not depend on where a module happens to run. Raises UsageError."""
    if os.path.isabs(value):
        return os.path.normpath(value)
    raise UsageError(
        f"{key} is not an absolute path",
        expected="a path that begins with /",
        found=repr(value),
        safe="nothing was changed",
        next_step=f"correct {key}",
    )


def warn_of_openers(module: AnsibleModule, target: str) -> None:
    """Check mode: a database that is open is a warning, because earlier tasks have not stopped its users."""
    openers = find_openers(target).openers
    if module.check_mode and openers:
        found = "; ".join(str(opener) for opener in openers)
        module.warn(f"{target} is in use by {found}. The real run is refused unless they are stopped before it.")


def rows_text(rows: Values) -> str:
    """Rows per table in one line."""
    return ", ".join(f"{table} {'?' if count is None else count}" for table, count in rows.items()) or "no tables"
