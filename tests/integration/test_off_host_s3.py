"""Off the host to a real S3 server: encrypted, append-only, by a key that may only read, and at a dead endpoint."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from archiving import ENVIRONMENT
from offhost import Host, line_to, rows_of, wait_for
from s3server import RefusedError, S3Server, encrypted, s3_server

# Of keys and contents that say what they are.
NAMES = re.compile(r"events|backups|archive|manifest|records|zst|heartbeat")
ZSTD = b"\x28\xb5\x2f\xfd"
REQUEST = re.compile(rb"\b(GET|HEAD|PUT|POST|DELETE) (/\S*) HTTP/1\.1\r\n(.*?)\r\n\r\n", re.DOTALL)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "host")
    try:
        yield host
    finally:
        host.close()


def on_disk(server: S3Server, sign: str) -> bool:
    return any(sign.encode() in path.read_bytes() for path in server.data.rglob("*") if path.is_file())


def readable(server: S3Server, bucket: str) -> list[str]:
    """Keys that say what they are, or whose contents do."""
    contents = server.contents(bucket)
    assert len(contents) >= 4
    return [
        key
        for key, content in contents.items()
        if NAMES.search(key.removeprefix("host/")) or content.startswith(ZSTD) or b"litekeep" in content
    ]


def test_a_moment_comes_back_out_of_a_place_that_can_read_neither_names_nor_contents(
    s3: S3Server, host: Host, tmp_path: Path
) -> None:
    s3.make_bucket("encrypted")
    s3.make_bucket("plain")
    sealed = s3.remote("encrypted", encrypted("s3:encrypted/host"), path="sealed:")
    host.use(sealed)
    host.archive.start()
    host.insert("early", 20)
    pushed = host.call("push", "events")["remotes"][0]
    assert pushed["segments"]
    rows = host.rows()
    moment = dt.datetime.now(dt.timezone.utc)
    host.archive.reaches(moment)
    host.insert("late", 20)
    host.archive.stop()
    assert host.call("push", "events")["remotes"][0]["segments"]
    assert host.call("push", "events")["changed"] is False
    last = host.rows()
    assert readable(s3, "encrypted") == []
    assert not on_disk(s3, pushed["backups"][0])

    # The same questions find all of it where nothing is encrypted.
    host.use(s3.remote("plain", name="plain"))
    host.call("push", "events")
    assert len(readable(s3, "plain")) == len(s3.contents("plain"))
    assert on_disk(s3, pushed["backups"][0])

    host.use(sealed)
    host.lose_all()
    assert host.call("list", "events", "--from", "s3")["restore_points"] == 1
    for to, expected in ((moment.isoformat(), rows), ("latest", last)):
        target = tmp_path / f"{len(expected)}.db"
        host.call("restore", "events", "--from", "s3", "--to", to, "--target", target)
        assert rows_of(target) == expected
    pulled = host.call("pull", "events", "--into", tmp_path / "pulled", "--to", moment.isoformat())
    again = tmp_path / "again.db"
    words = ["--database", str(again), "--repository", str(tmp_path / "pulled"), "--host", "host"]
    command = [sys.executable, "-m", "litekeep", *words, "restore", "events", "--to", pulled["point"]["id"]]
    subprocess.run(command, env=ENVIRONMENT, check=True)
    assert rows_of(again) == rows


def test_with_another_password_the_place_looks_empty_and_nothing_is_damaged(
    s3: S3Server, host: Host, tmp_path: Path
) -> None:
    s3.make_bucket("passwords")
    right = s3.remote("passwords", encrypted("s3:passwords/host"), path="sealed:")
    host.use(right)
    host.call("backup", "events")
    host.call("push", "events")
    host.use(s3.remote("passwords", encrypted("s3:passwords/host", "another"), name="wrong", path="sealed:"))
    assert host.call("list", "events", "--from", "wrong")["restore_points"] == 0
    assert host.call("restore", "events", "--from", "wrong", "--target", tmp_path / "there.db", code=4)
    host.use(right)
    host.call("restore", "events", "--from", "s3", "--target", tmp_path / "there.db")
    assert rows_of(tmp_path / "there.db") == host.rows()


def test_a_key_that_may_only_read_restores_and_does_not_push(s3: S3Server, host: Host, tmp_path: Path) -> None:
    s3.make_bucket("shared")
    host.use(s3.remote("shared"))
    host.call("backup", "events")
    host.call("push", "events")
    rows = host.rows()
    host.insert("later")
    host.call("backup", "events")
    host.use(s3.remote("shared", name="reader", who="reader"))
    assert host.call("list", "events", "--from", "reader")["restore_points"] == 1
    host.call("restore", "events", "--from", "reader", "--target", tmp_path / "there.db")
    assert rows_of(tmp_path / "there.db") == rows
    error = host.call("push", "events", code=9)["error"]
    assert error["message"] == "The remote reader refused to write"
    assert "AccessDenied" in error["found"]
    assert any("AccessDenied" in finding for finding in host.call("status", "events", code=3)["findings"])


def test_a_dead_endpoint_is_given_up_soon_and_named(s3: S3Server, host: Host) -> None:
    s3.make_bucket("dead")
    host.call("backup", "events")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    host.use(s3.remote("dead", port=port))
    assert "connection refused" in host.call("push", "events", code=9)["error"]["found"]
    with line_to(s3.port) as line:
        # rclone alone would wait for four times as long.
        line.dead = True
        host.use(s3.remote("dead", port=line.port, timeout=1))
        error = host.call("push", "events", code=9)["error"]
        assert error["message"] == "The remote s3 stood still when it was to list"
        assert error["found"] == "nothing for 3 s, so rclone was ended"
        line.dead = False
        assert host.call("push", "events")["remotes"][0]["backups"]


def test_what_an_append_only_place_has_survives_whoever_took_over_the_host(
    s3: S3Server, host: Host, tmp_path: Path
) -> None:
    s3.make_append_only_bucket("kept")
    names = "filename_encryption = off\ndirectory_name_encryption = false\n"
    sealed = encrypted("s3:kept/host", more=names)
    with line_to(s3.port) as line:
        line.listens = True
        host.use(s3.remote("kept", sealed, path="sealed:", port=line.port, more="upload_cutoff = 0"))
        host.archive.start()
        for kind in ("early", "late"):
            host.insert(kind, 20)
            time.sleep(1.5)
            assert host.call("push", "events")["remotes"][0]["segments"]
        host.archive.stop()
        # Also a host that has forgotten what it has sent.
        shutil.rmtree(host.folder / "repository/host/events/remotes")
        host.call("push", "events")
        requests = [found for heard in line.heard for found in REQUEST.findall(bytes(heard))]

    # Nothing is deleted, nothing that counts is written twice, and each upload has the hash that AWS asks for here.
    assert not [path for method, path, _fields in requests if method == b"DELETE" or b"delete" in path]
    uploads = [fields for method, _path, fields in requests if method == b"PUT"]
    assert len(uploads) >= 6
    assert all(b"content-md5:" in fields.lower() for fields in uploads)
    before = s3.versions("kept")
    twice = {key for key, count in Counter(version.key for version in before).items() if count > 1}
    assert {key.rsplit("/", 1)[-1] for key in twice} == {"heartbeat.json.bin"}

    time.sleep(1.1)
    moment = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    time.sleep(1.1)
    for version in before:
        for query in (f"versionId={version.id}", ""):
            for who in ("host", "admin"):
                with pytest.raises(RefusedError, match="AccessDenied"):
                    s3.call("DELETE", f"/kept/{version.key}", query, who=who)
        s3.call("PUT", f"/kept/{version.key}", body=b"rubbish", who="host")
    assert {version.id for version in before} < {version.id for version in s3.versions("kept")}

    rows = host.rows()
    host.lose_all()
    target = tmp_path / "there.db"
    assert host.answer("restore", "events", "--from", "s3", "--target", target)["exit_code"] in (3, 4, 9)
    assert not target.exists()
    view = "[then]\ntype = combine\nupstreams = kept=s3:kept\n"
    then = sealed.replace("s3:kept/host", "then:kept/host")
    past = s3.remote("kept", view + then, name="then", who="reader", path="sealed:", more=f"version_at = {moment}")
    host.use(past)
    host.call("restore", "events", "--from", "then", "--target", target)
    assert rows_of(target) == rows


def test_secrets_stand_in_the_configuration_of_rclone_and_nowhere_else(s3: S3Server, host: Host) -> None:
    s3.make_bucket("secrets")
    remote = s3.remote(
        "secrets", encrypted("s3:secrets/host", "crypt-marker"), path="sealed:", bandwidth="100k", name="vault"
    )
    hidden = re.findall(r"^(?:secret_access_key|password2?) = (\S+)$", Path(remote.rclone).read_text(), re.MULTILINE)
    assert len(hidden) == 3
    host.use(remote)
    host.application.execute("INSERT INTO events(kind, payload) VALUES('large', randomblob(400000))")
    host.archive.start()
    host.follow()
    seen: dict[str, str] = {}

    def has_arrived() -> bool:
        for process in host.pushing():
            for name in ("cmdline", "environ"):
                try:
                    seen[f"{process}/{name}"] = (process / name).read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue
        return "has arrived" in host.log.read_text()

    wait_for(has_arrived)
    assert any("rclone" in text and " copy " in text for text in seen.values())
    assert host.end() == 0
    said = [host.run("status", "events", "--json"), host.run("push", "events")]
    wrong = s3.remote("secrets", secret="wrong-marker", name="wrong")
    host.use(wrong)
    host.follow()
    wait_for(lambda: "Signature" in host.log.read_text())
    assert host.end() == 0
    said += [host.run(*words, "--json") for words in (("push", "events"), ("list", "events", "--from", "wrong"))]
    said.append(host.run("status", "events"))
    assert [each.returncode for each in said] == [0, 0, 9, 9, 3]
    assert "wrong-marker" in Path(wrong.rclone).read_text()

    files = [path for path in host.folder.rglob("*") if path.is_file()]
    assert any(path.name == "wrong.backups.json" for path in files)
    texts = [*seen.values(), *(each.stdout + each.stderr for each in said)]
    texts += [path.read_bytes().decode(errors="replace") for path in files]
    for secret in (*hidden, "crypt-marker", "wrong-marker"):
        assert not [text for text in texts if secret in text]
