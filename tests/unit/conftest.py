"""What the unit tests share: a small event database and its repository, a disk of one's own, the published schemas."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, configuration, settings
from support import ROOT, make_database, protect
from unit import archives, places

from litekeep import backup, timefmt
from litekeep.config import Database
from litekeep.progress import Progress
from litekeep.repository import Backup, Repository

configuration.set_hypothesis_home_dir(ROOT / ".cache" / "hypothesis")
_COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
# The gate must say the same twice; to look for more: pytest tests/unit --hypothesis-profile explore
settings.register_profile("gate", max_examples=60, derandomize=True, database=None, **_COMMON)
settings.register_profile("explore", max_examples=2000, **_COMMON)
settings.load_profile("gate")


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("template") / "events.db")


@pytest.fixture
def events(tmp_path: Path, _template: Path) -> Path:
    """A WAL database of 200 events, at rest."""
    (tmp_path / "data").mkdir(exist_ok=True)
    return Path(shutil.copy(_template, tmp_path / "data" / "events.db"))


@pytest.fixture
def kept(tmp_path: Path, events: Path) -> tuple[Repository, Database]:
    """A repository without backups, and the policy of ``events``."""
    return protect(tmp_path, events)


@pytest.fixture
def saved(kept: tuple[Repository, Database]) -> Backup:
    """A verified backup of ``events`` in ``kept``."""
    return backup.take(*kept, Progress())


@pytest.fixture
def scene(kept: tuple[Repository, Database]) -> Iterator[archives.Scene]:
    """``events`` in use, and a timeline of its archive."""
    with archives.archiving(kept) as found:
        yield found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the clock of some engine modules so many seconds ahead (negative: back)."""

    def shift(seconds: float, *modules: Any) -> None:
        for module in modules:
            monkeypatch.setattr(module, "now", lambda: timefmt.now() + dt.timedelta(seconds=seconds))

    return shift


@pytest.fixture
def on_disk(tmp_path: Path) -> Callable[..., None]:
    """Run work(disk) in a fork that has a small file system of its own."""

    def run(work: Callable[[places.Disk], object], size: str = "1m") -> None:
        places.on_disk(tmp_path / "disk", work, size)

    return run


def _validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((ROOT / "docs" / "schemas" / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="session")
def manifest_schema() -> jsonschema.Draft202012Validator:
    """The published schema of manifests."""
    return _validator("manifest-1.schema.json")


@pytest.fixture(scope="session")
def answer_schema() -> jsonschema.Draft202012Validator:
    """The published schema of JSON answers."""
    return _validator("answer-1.schema.json")


@pytest.fixture(scope="session")
def audit_schema() -> jsonschema.Draft202012Validator:
    """The published schema of audits."""
    return _validator("audit-1.schema.json")
