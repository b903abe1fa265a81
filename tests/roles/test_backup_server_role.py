"""The role backup_server: who is let in and who is not, whatever the inventory says; sessions end with their keys."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from support import ROOT

FILES = ROOT / "roles" / "backup_server" / "files"
PROGRAM = FILES / "access.py"
REFUSED = "remove,rename,posix-rename,rmdir,setstat,fsetstat,lsetstat,symlink,hardlink"
# Of nobody: sessions are played by processes of this user.
UID = 61_234


def key(name: str) -> str:
    """A public key of that name, without a comment."""
    return "ssh-ed25519 " + base64.b64encode(name.encode().ljust(51, b".")).decode()


class Server:
    """A server's key files and memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "keys").mkdir()

    def ask(self, what: str, *options: str, code: int = 0, **request: object) -> str:
        """What the program changes, or why it refuses."""
        places = [str(self.folder / "keys"), str(self.folder / "memory"), "no-such-group"]
        done = subprocess.run(
            [sys.executable, "-I", str(PROGRAM), *places, *options],
            input=json.dumps({"what": what, "hosts": [], "readers": [], **request}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def apply(self, *hosts: dict[str, object], readers: tuple[str, ...] = ()) -> str:
        return self.ask("apply", hosts=list(hosts), readers=list(readers))

    def fence(self, name: str, heir: str = "", **more: object) -> str:
        return self.ask("fence", name=name, heir=heir, **more)

    def admit(self, name: str, of: str, code: int = 0) -> str:
        return self.ask("admit", name=name, key=of, code=code)

    def may(self, name: str) -> dict[str, list[str]]:
        """Who may write and who may read."""
        file = self.folder / "keys" / f"lk-{name}"
        found: dict[str, list[str]] = {"write": [], "read": []}
        for line in file.read_text().splitlines() if file.exists() else []:
            options, *rest = line.split('" ')
            kind = {
                f'restrict,command="internal-sftp -P {REFUSED}': "write",
                'restrict,command="internal-sftp -R': "read",
            }
            found[kind[options]].append(" ".join(rest[0].split()[:2]))
        return found

    def everything(self) -> dict[str, str]:
        return {str(path): path.read_text() for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


APP1 = {"name": "app1", "key": key("one")}


def test_hosts_may_write_readers_may_read_and_a_second_run_says_nothing(server: Server) -> None:
    hosts = [{**APP1, "readers": [key("standby")]}, {"name": "app2", "key": key("two") + " a comment (x)\n"}]
    assert server.apply(*hosts, readers=(key("escrow"),))
    assert server.may("app1") == {"write": [key("one")], "read": sorted([key("escrow"), key("standby")])}
    assert server.may("app2") == {"write": [key("two")], "read": [key("escrow")]}
    assert server.apply(*hosts, readers=(key("escrow"),)) == ""
    # A host that leaves the list, one that is fenced in it, and one whose key is another one now.
    server.apply({"name": "app2", "key": key("new")}, {"name": "app3", "key": key("three"), "fenced": "yes"})
    assert server.may("app1") == {"write": [], "read": []}
    assert server.may("app2") == {"write": [key("new")], "read": []}
    assert not (server.folder / "keys" / "lk-app3").exists()


def test_check_mode_says_the_same_and_writes_nothing(server: Server) -> None:
    server.apply(APP1)
    before = server.everything()
    wishes = [
        ("apply", {"hosts": [{"name": "app2", "key": key("two")}]}),
        ("fence", {"name": "app1", "heir": key("heir")}),
        ("admit", {"name": "app3", "key": key("three")}),
    ]
    for what, request in wishes:
        said = server.ask(what, "--check", **request)
        assert server.everything() == before
        assert server.ask(what, **request) == said != ""
        before = server.everything()


def test_a_fenced_key_is_never_let_in_again(server: Server) -> None:
    server.apply(APP1, readers=(key("escrow"),))
    server.fence("app1", key("heir"))
    fenced = {"write": [], "read": sorted([key("escrow"), key("heir")])}
    assert server.may("app1") == fenced
    assert server.fence("app1", key("heir")) == ""
    said = server.apply(APP1, {"name": "app2", "key": key("one")}, readers=(key("escrow"), key("one")))
    assert "app1: its key in backup_server_hosts was fenced" in said
    assert server.may("app1") == fenced
    assert server.may("app2") == {"write": [], "read": [key("escrow")]}
    assert "was fenced on this server" in server.admit("app3", key("one"), code=2)
    assert server.may("app3")["write"] == []
    # The inventory forgets the host: its heir goes on reading.
    server.apply(readers=(key("escrow"),))
    assert server.may("app1") == fenced
    # Another key of that name is somebody else.
    server.apply({"name": "app1", "key": key("rebuilt")})
    assert server.may("app1") == {"write": [key("rebuilt")], "read": [key("heir")]}


@pytest.mark.parametrize("named", [{"key": key("one")}, {}])
def test_a_host_that_is_fenced_in_the_inventory_is_let_in_by_another_key_only(
    server: Server, named: dict[str, object]
) -> None:
    server.apply(APP1)
    server.apply({"name": "app1", "fenced": True, **named})
    assert server.apply({"name": "app1", "fenced": True, **named}) == ""
    server.apply(APP1)
    assert server.may("app1")["write"] == []
    server.apply({"name": "app1", "key": key("new")})
    assert server.may("app1")["write"] == [key("new")]


def test_the_key_that_only_the_inventory_knows_is_fenced_too(server: Server) -> None:
    server.apply(APP1)
    server.fence("app1", hosts=[{"name": "app1", "key": key("newer")}])
    server.apply({"name": "app1", "key": key("newer")})
    assert server.may("app1")["write"] == []


def test_an_admitted_host_stays_until_the_inventory_names_it(server: Server) -> None:
    server.apply(APP1)
    assert server.admit("app2", key("two"))
    assert server.admit("app2", key("two")) == ""
    assert server.apply(APP1) == ""
    assert server.may("app2")["write"] == [key("two")]
    named = {"name": "app2", "key": key("two")}
    server.apply(APP1, named)
    assert server.may("app2")["write"] == [key("two")]
    assert server.admit("app2", key("two")) == ""
    server.apply(APP1)
    assert server.may("app2")["write"] == []


def test_a_host_that_is_rebuilt_under_its_name_is_let_in_though_the_inventory_is_old(server: Server) -> None:
    server.apply(APP1)
    for _again in range(2):
        server.fence("app1", key("rebuilt"))
        server.admit("app1", key("rebuilt"))
        assert server.may("app1") == {"write": [key("rebuilt")], "read": []}
        server.apply(APP1)
        assert server.may("app1") == {"write": [key("rebuilt")], "read": []}
    # And fenced in its turn.
    server.fence("app1")
    assert server.apply(APP1) != ""
    assert server.may("app1")["write"] == []


def test_nobody_is_fenced_who_never_sent_anything(server: Server) -> None:
    server.apply(APP1)
    before = server.everything()
    assert "nobody of that name" in server.fence("app11", key("heir"))
    assert server.everything() == before


@pytest.mark.parametrize(
    "hostile",
    [
        key("one") + '\ncommand="/bin/sh" ' + key("two"),
        'command="/bin/sh" ' + key("one"),
        "ssh-ed25519 AAAA\x00",
        "",
        "ssh-ed25519",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_what_is_no_key_is_refused(server: Server, hostile: str) -> None:
    assert "no public key" in server.admit("app1", hostile, code=2)
    assert server.everything() == {}


@pytest.mark.parametrize("name", ["../x", "a" * 29, "", ".x", "a\n", "a b", "-x"])
def test_what_is_no_name_is_refused(server: Server, name: str) -> None:
    assert "no name" in server.admit(name, key("one"), code=2)
    assert server.everything() == {}


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FILES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("keys", ["as they were", "changed", "gone"])
def test_sessions_end_that_are_older_than_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    if os.geteuid():
        pytest.skip("expected: only root can play another user's session")
    program = loaded("end_sessions")
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: SimpleNamespace(pw_uid=UID))
    # So that a test need not wait: what is let through late.
    monkeypatch.setattr(program, "_SLACK", 0.1)
    file = tmp_path / "lk-app1"
    file.write_text("old")
    time.sleep(0.3)
    session = subprocess.Popen(["sleep", "1000"], user=UID, group=UID)
    mine = subprocess.Popen(["sleep", "1000"])
    try:
        time.sleep(0.3)
        if keys == "gone":
            file.unlink()
        elif keys == "changed":
            file.write_text("new")
        assert program.end("lk-app1", str(file)) == (0 if keys == "as they were" else 1)
        assert session.poll() is None if keys == "as they were" else session.wait() == -9
        assert mine.poll() is None
    finally:
        for process in (session, mine):
            process.kill()
            process.wait()
