from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from litekeep import config
from litekeep.config import ArchiveSettings, Config, Database
from litekeep.errors import UsageError

FULL: dict[str, Any] = {
    "repository": "/var/lib/litekeep",
    "host": "db1",
    "databases": {
        "events": {
            "path": "/var/lib/app/../app/events.db",
            "staging": "/var/tmp",
            "deadline": "10m",
            "compression_level": 9,
            "services": ["app.service"],
            "objectives": {"rpo": "24h", "rto": "30m"},
        },
        "small": {"path": "/srv/small.db"},
    },
}


def with_policy(**policy: object) -> dict[str, Any]:
    return {**FULL, "databases": {"events": {"path": "/srv/events.db", **policy}}}


def load(tmp_path: Path, text: str | bytes) -> Config:
    place = tmp_path / "litekeep.json"
    place.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load_config(str(place))


def test_everything_that_is_said_is_understood(tmp_path: Path) -> None:
    assert load(tmp_path, json.dumps(FULL)) == Config(
        "/var/lib/litekeep",
        "db1",
        {
            "events": Database(
                "events", "/var/lib/app/events.db", "/var/tmp", 600, 9, ("app.service",), rpo=86400, rto=1800
            ),
            "small": Database("small", "/srv/small.db"),
        },
    )


def test_what_is_not_said_or_null_has_its_default(tmp_path: Path) -> None:
    nothing = dict.fromkeys(["staging", "deadline", "compression_level", "services", "objectives"])
    loaded = load(tmp_path, json.dumps(with_policy(**nothing)))
    assert loaded.database("events") == Database("events", "/srv/events.db", None, 600, 2, (), None, None)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({**FULL, "repositry": "/x"}, "repositry"),
        (with_policy(retentions={}), "retentions"),
        (with_policy(objectives={"rpo": "1d", "rpto": "1d"}), "rpto"),
    ],
)
def test_a_misspelt_key_is_refused_by_its_name(tmp_path: Path, values: object, key: str) -> None:
    with pytest.raises(UsageError, match=f"unknown keys: {key}") as caught:
        load(tmp_path, json.dumps(values))
    assert "keys: " in caught.value.expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "is no mapping"),
        ({}, "repository is not an absolute path"),
        ({**FULL, "repository": "var/lib"}, "repository is not an absolute path"),
        ({**FULL, "repository": None}, "repository is not an absolute path"),
        ({**FULL, "host": "a/b"}, "host name 'a/b'"),
        ({**FULL, "host": None}, "host name None"),
        ({**FULL, "databases": [1]}, "databases is no mapping"),
        ({**FULL, "databases": {"a/b": {"path": "/x"}}}, "database name 'a/b'"),
        ({**FULL, "databases": {"events": "/x"}}, "databases.events is no mapping"),
        (with_policy(path="events.db"), "events.path is not an absolute path"),
        (with_policy(path="/srv/\0.db"), "events.path is not an absolute path"),
        (with_policy(path=7), "events.path is not an absolute path"),
        (with_policy(staging="tmp"), "events.staging is not an absolute path"),
        (with_policy(deadline="soon"), "events.deadline is not a duration"),
        (with_policy(deadline=True), "events.deadline is not a duration"),
        (with_policy(compression_level=0), "events.compression_level is no zstd level"),
        (with_policy(compression_level=20), "events.compression_level is no zstd level"),
        (with_policy(compression_level="3"), "events.compression_level is no zstd level"),
        (with_policy(compression_level=True), "events.compression_level is no zstd level"),
        (with_policy(services="app.service"), "events.services is no list of texts"),
        (with_policy(services=[1]), "events.services is no list of texts"),
        (with_policy(objectives=[1]), "events.objectives is no mapping"),
        (with_policy(objectives={"rpo": "daily"}), "events.objectives.rpo is not a duration"),
        (with_policy(objectives={"rto": -1}), "events.objectives.rto is not a duration"),
        (with_policy(archive="yes"), "events.archive is neither true nor false"),
        (with_policy(archive=1), "events.archive is neither true nor false"),
        (with_policy(archive_settings=[1]), "events.archive_settings is no mapping"),
        (with_policy(archive_settings={"intervall": 1}), "events.archive_settings has unknown keys: intervall"),
        (with_policy(archive_settings={"interval": "often"}), "archive_settings.interval is not a duration"),
        (with_policy(archive_settings={"heartbeat": True}), "archive_settings.heartbeat is not a duration"),
        (with_policy(archive_settings={"relief": "16 megs"}), "archive_settings.relief is not a size"),
        (with_policy(archive_settings={"reserve": -1}), "archive_settings.reserve is not a size"),
        (with_policy(archive_settings={"max_wal": 1.5}), "archive_settings.max_wal is not a size"),
        (with_policy(archive_settings={"interval": 0}), "archive_settings cannot be used"),
        (with_policy(archive_settings={"heartbeat": "0s"}), "archive_settings cannot be used"),
        (with_policy(archive_settings={"relief": 999_999}), "archive_settings cannot be used"),
        (with_policy(archive_settings={"relief": "1GB", "max_wal": "1GB"}), "archive_settings cannot be used"),
    ],
)
def test_a_wrong_value_is_refused_and_its_place_named(tmp_path: Path, values: object, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, json.dumps(values))
    assert words in caught.value.what


def test_the_archives_settings_are_understood_in_every_form(tmp_path: Path) -> None:
    values = {"interval": "2s", "heartbeat": 30, "relief": "512KiB", "max_wal": "2000000", "reserve": "0"}
    values["roll"] = "12h"
    with pytest.raises(UsageError, match="cannot be used"):
        load(tmp_path, json.dumps(with_policy(archive_settings=values)))
    values["relief"] = "1MiB"
    found = load(tmp_path, json.dumps(with_policy(archive=True, archive_settings=values))).database("events")
    assert found.archive is True
    assert found.archive_settings == ArchiveSettings(2, 30, 1 << 20, 2_000_000, 0, 43200)


def test_what_is_not_said_about_the_archive_or_null_has_its_default(tmp_path: Path) -> None:
    nothing = dict.fromkeys(["interval", "heartbeat", "relief", "max_wal", "reserve", "roll"])
    for settings in ({}, nothing, None):
        found = load(tmp_path, json.dumps(with_policy(archive=None, archive_settings=settings))).database("events")
        wanted = ArchiveSettings(1, 10, 64 * 10**6, 10**9, 10**9, 86400)
        assert (found.archive, found.archive_settings) == (False, wanted)


@pytest.mark.parametrize("value", ["", False, 0, []])
@pytest.mark.parametrize("key", ["databases", "objectives"])
def test_an_empty_value_of_the_wrong_kind_is_not_taken_for_nothing(tmp_path: Path, key: str, value: object) -> None:
    values = {**FULL, key: value} if key == "databases" else with_policy(objectives=value)
    with pytest.raises(UsageError, match=f"{key} is no mapping"):
        load(tmp_path, json.dumps(values))


def test_a_level_of_19_and_of_1_can_be_had(tmp_path: Path) -> None:
    for level in (1, 19):
        loaded = load(tmp_path, json.dumps(with_policy(compression_level=level)))
        assert loaded.database("events").compression_level == level


def test_a_path_that_no_file_system_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"events\.path"):
        load(tmp_path, json.dumps(with_policy(path="/srv/\ud800.db")))


def test_a_missing_configuration_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read") as caught:
        config.load_config(str(tmp_path / "none.json"))
    assert caught.value.found == "No such file or directory"
    assert "install.yml" in caught.value.next_step


def test_a_configuration_that_is_a_directory_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        config.load_config(str(tmp_path))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"{'a': 1}", b"\xef\xbb\xbf{}", b"[" * 100_000])
def test_a_configuration_that_is_not_json_is_a_usage_error(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(UsageError, match="is not JSON"):
        load(tmp_path, text)


def test_an_unknown_database_is_answered_with_the_known_ones() -> None:
    loaded = config.config_from(FULL, "here")
    with pytest.raises(UsageError) as caught:
        loaded.database("event")
    assert caught.value.expected == "one of: events, small"
    with pytest.raises(UsageError) as caught:
        Config("/r", "h").database("event")
    assert caught.value.expected == "one of: none"


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


@given(NAMES)
def test_a_good_name_is_taken_as_it_is(name: str) -> None:
    assert config.check_name(name, "database name") == name
    assert "/" not in name
    assert os.path.basename(name) == name
    assert name not in (".", "..")


@given(st.one_of(st.text(max_size=80), st.none(), st.integers(), st.lists(st.text())))
@example("a/b")
@example("../etc")
@example(".hidden")
@example("-rf")
@example("a" * 65)
@example("events\n")
@example("ä")
@example("")
def test_a_name_is_either_safe_or_refused_with_one_that_is(name: object) -> None:
    try:
        found = config.check_name(name, "database name")
    except UsageError as problem:
        suggestion = problem.next_step.rpartition("example ")[2].strip("'")
        assert config.check_name(suggestion, "it") == suggestion
    else:
        assert found == name
        assert isinstance(name, str)
        assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
        assert name[0] not in "._-"


@pytest.mark.parametrize("name", ["a/b", "..", ".x", "-x", "_x", "", "a" * 65, "a b", "events\n", "a\0", 5, None])
def test_a_name_that_could_leave_its_folder_or_become_an_option_is_refused(name: object) -> None:
    with pytest.raises(UsageError):
        config.check_name(name, "database name")


ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=12),
        st.sampled_from(["/x", "5m", "²"]),
    ),
    lambda deeper: st.one_of(st.lists(deeper, max_size=4), st.dictionaries(st.text(max_size=8), deeper, max_size=4)),
    max_leaves=8,
)
KEYS = ("path", "staging", "deadline", "compression_level", "services", "objectives")
POLICY = st.fixed_dictionaries({"path": st.one_of(st.just("/x"), ANYTHING)}, optional=dict.fromkeys(KEYS[1:], ANYTHING))
WHOLE = st.fixed_dictionaries(
    {"repository": st.one_of(st.just("/r"), ANYTHING), "host": st.one_of(st.just("h"), ANYTHING)},
    optional={"databases": st.one_of(st.dictionaries(st.one_of(NAMES, st.text(max_size=5)), POLICY), ANYTHING)},
)


@given(st.one_of(ANYTHING, WHOLE))
@example(with_policy(deadline="²"))
def test_garbage_is_understood_or_a_usage_error_and_nothing_else(values: object) -> None:
    try:
        found = config.config_from(json.loads(json.dumps(values)), "litekeep.json")
    except UsageError as problem:
        assert problem.what
        return
    assert os.path.isabs(found.repository)
    for name, database in found.databases.items():
        assert config.check_name(name, "it") == database.name
        assert os.path.isabs(database.path)
        assert 1 <= database.compression_level <= 19
        assert database.deadline >= 0


@given(st.binary(max_size=200))
def test_a_file_of_any_bytes_is_no_more_than_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, text: bytes
) -> None:
    with pytest.raises(UsageError):
        load(tmp_path_factory.getbasetemp(), text)
