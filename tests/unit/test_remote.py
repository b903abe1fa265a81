"""rclone as a part: what it answers, and what is made of it when it answers nothing, rubbish, or never."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from offhost import folder_remote
from unit.archives import Kept, Scene

from litekeep import pushservice, remote
from litekeep.errors import RemoteError, UsageError
from litekeep.pushservice import Pusher
from litekeep.remote import BrokenOffError, Store

BLOCK = b"x" * 100_000
HANG = "exec sleep 1000"
OPERATIONS: dict[str, Callable[[Store, Path], object]] = {
    "list": lambda store, _folder: store.files("a"),
    "write": lambda store, _folder: store.write("a", [BLOCK] * 50),
    "read": lambda store, _folder: list(store.read("a")),
    "send": lambda store, folder: store.send(str(folder), ["a"], "b"),
    "fetch": lambda store, folder: store.fetch("b", ["a"], str(folder)),
}


class Fake:
    """A place with something else than rclone in front of it: a script of the shell."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.program = folder / "bin" / "rclone"
        self.program.parent.mkdir()
        self.store = Store(folder_remote(folder / "place"))
        monkeypatch.setenv("PATH", str(self.program.parent), prepend=os.pathsep)

    def does(self, script: str) -> Store:
        # Its last word is what it is to do: "lsjson", "rcat", ... stand among its arguments.
        self.program.write_text(f"#!/bin/sh\ncd {self.folder}\necho $$ >pid\n{script}\n")
        self.program.chmod(0o755)
        return self.store

    def is_gone(self) -> bool:
        return not Path("/proc", (self.folder / "pid").read_text().strip()).exists()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(tmp_path, monkeypatch)


@pytest.fixture
def impatient(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Three times the timeout is a second."""
    monkeypatch.setattr(remote, "_LOOK", 0.05)
    monkeypatch.setattr(remote, "_FAREWELL", 0.3)
    monkeypatch.setattr(remote, "_PATIENCE", 1)
    fake.store = Store(replace(fake.store.remote, timeout=1))
    return fake


@pytest.fixture
def place(tmp_path: Path) -> Store:
    """A real one."""
    return Store(folder_remote(tmp_path / "place"))


def refusal(work: Callable[[], object]) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        work()
    assert caught.value.next_step.startswith("rclone --config ")
    return caught.value


def test_what_is_written_and_sent_is_listed_read_and_fetched(place: Store, tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "b").write_bytes(BLOCK)
    place.write("one/a", [b"some", b"thing", BLOCK])
    place.send(str(tmp_path / "from"), ["b"], "one/two")
    assert place.files("one") == {"a": 100_009, "two/b": 100_000}
    assert b"".join(place.read("one/a")) == b"something" + BLOCK
    place.fetch("one", ["a", "two/b"], str(tmp_path / "to"))
    assert (tmp_path / "to" / "two" / "b").read_bytes() == BLOCK


def test_what_is_not_there_is_said_to_be_not_there(place: Store, tmp_path: Path) -> None:
    place.write("one/a", [b"a"])
    assert place.files("two") == {}
    for path in ("one/b", "two/b"):
        assert refusal(lambda path=path: list(place.read(path))).found == f"there is no {path}"  # type: ignore[misc]
    assert refusal(lambda: place.fetch("one", ["a", "b"], str(tmp_path / "to"))).found == "there is no one/b"
    assert refusal(lambda: place.fetch("two", ["a"], str(tmp_path / "too"))).found.startswith("there is no two")


def test_a_file_that_rclone_reads_as_empty_because_it_is_not_there_is_not_taken_for_one(fake: Fake) -> None:
    """So it does on S3."""
    store = fake.does("case $* in *lsjson*) echo '[]';; esac")
    assert refusal(lambda: list(store.read("a/b"))).found == "there is no a/b"


@pytest.mark.parametrize(
    "answer", ["", "no list", "{}", "null", '"abc"', "[1]", '[{"Path": "a"}]', '[{"Path": "a", "Size": "b"}]', "\\0377"]
)
def test_rubbish_is_not_taken_for_a_list(fake: Fake, answer: str) -> None:
    store = fake.does(f"printf '%b' '{answer}'")
    assert "something else than a list" in refusal(lambda: store.files("a")).found


def test_a_list_that_is_nested_without_end_is_none(fake: Fake) -> None:
    store = fake.does("head -c 200000 /dev/zero | tr '\\0' '['")
    assert "something else than a list" in refusal(lambda: store.files("a")).found


@pytest.mark.parametrize("what", OPERATIONS)
@pytest.mark.parametrize(
    ("script", "found"),
    [("exit 7", "rclone ended with 7"), ("kill -9 $$", "rclone was killed by SIGKILL"), ("kill -40 $$", "signal 40")],
)
def test_an_end_without_a_word_is_a_refusal_that_says_how_it_ended(
    fake: Fake, what: str, script: str, found: str
) -> None:
    store = fake.does(script)
    problem = refusal(lambda: OPERATIONS[what](store, fake.folder))
    assert (problem.kind, problem.exit_code) == ("remote", 9)
    assert found in problem.found
    assert "vault refused to" in problem.what


def test_a_death_in_the_middle_of_a_file_is_noticed(fake: Fake) -> None:
    store = fake.does("head -c 300000 >/dev/null; kill -9 $$")
    assert "SIGKILL" in refusal(lambda: store.write("a", [BLOCK] * 100)).found
    store = fake.does("head -c 300000 /dev/zero; kill -9 $$")
    came: list[bytes] = []
    assert "SIGKILL" in refusal(lambda: came.extend(store.read("a"))).found
    assert sum(map(len, came)) == 300_000


def test_of_all_that_rclone_says_the_end_is_told(fake: Fake) -> None:
    noise = "yes '2026/11/23 06:45:20 ERROR : noise' | head -c 3000000 >&2; echo >&2"
    said = (
        "printf '2026/11/23 06:45:20 Failed to lsjson: error in ListJSON: RequestError: send request failed\\n"
        'caused by: Get "http://127.0.0.1:9/b": connection refused\\n\' >&2'
    )
    store = fake.does(f"{noise}; {said}; exit 1")
    assert refusal(lambda: store.files("a")).found == (
        "error in ListJSON: RequestError: send request failed; "
        'caused by: Get "http://127.0.0.1:9/b": connection refused'
    )
    store = fake.does("echo '2026/11/23 06:45:20 Failed to copy with 2 errors: last error was: full' >&2; exit 1")
    assert refusal(lambda: store.files("a")).found == "full"
    store = fake.does("echo '2026/11/23 06:45:20 Failed to create file system for \"x:\": none' >&2; exit 1")
    assert refusal(lambda: store.files("a")).found == 'Failed to create file system for "x:": none'
    store = fake.does("yes x | tr -d '\\n' | head -c 3000000 >&2; exit 1")
    assert refusal(lambda: store.files("a")).found == 300 * "x"


@pytest.mark.parametrize("what", OPERATIONS)
def test_rclone_that_hangs_is_ended(impatient: Fake, what: str) -> None:
    store = impatient.does(HANG)
    with pytest.raises(BrokenOffError, match="vault stood still when it was to") as caught:
        OPERATIONS[what](store, impatient.folder)
    assert caught.value.found == "nothing for 1 s, so rclone was ended"
    assert caught.value.next_step.startswith("rclone --config ")
    assert impatient.is_gone()


def test_rclone_that_hangs_in_the_middle_and_does_not_listen_is_ended(impatient: Fake) -> None:
    deaf = f"trap '' TERM; {HANG}"
    store = impatient.does(f"head -c 300000 >/dev/null; {deaf}")
    with pytest.raises(BrokenOffError, match="to write"):
        store.write("a", [BLOCK] * 100)
    assert impatient.is_gone()
    store = impatient.does(f"head -c 300000 /dev/zero; {deaf}")
    with pytest.raises(BrokenOffError, match="to read"):
        list(store.read("a"))
    assert impatient.is_gone()


@pytest.mark.parametrize(
    ("size", "is_ended"), [(2000, False), (20, True)], ids=["slow", "only requests that are repeated"]
)
def test_a_slow_transfer_goes_on_and_attempts_in_vain_do_not(impatient: Fake, size: int, is_ended: bool) -> None:
    """No byte of it goes through our pipes; it lasts three times as long as the patience."""
    writes = f"for n in range(30): open('moved', 'wb', 0).write(bytes({size})); time.sleep(0.1)"
    store = impatient.does(f'exec "{sys.executable}" -ISc "import time\n{writes}"')
    with pytest.raises(BrokenOffError) if is_ended else contextlib.nullcontext():
        store.send(str(impatient.folder), ["a"], "b")


@pytest.mark.parametrize("is_read", [True, False], ids=["a slow line", "a dead line"])
def test_what_the_kernel_has_taken_and_not_yet_delivered_counts_when_it_goes(impatient: Fake, is_read: bool) -> None:
    """Whoever sends writes once, and waits for three times as long as the patience."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sends = f"s = socket.create_connection(('127.0.0.1', {server.getsockname()[1]})); s.sendall(bytes(1000000))"
        waits = "s.shutdown(1); s.recv(1)"
        store = impatient.does(f'exec "{sys.executable}" -ISc "import socket; {sends}; {waits}"')
        reader = threading.Thread(target=_slow_reader, args=(server, is_read), daemon=True)
        server.settimeout(30)
        reader.start()
        with contextlib.nullcontext() if is_read else pytest.raises(BrokenOffError):
            store.send(str(impatient.folder), ["a"], "b")
        reader.join()


def _slow_reader(server: socket.socket, is_read: bool) -> None:
    client, _address = server.accept()
    with client:
        while is_read and client.recv(20_000):
            time.sleep(0.06)
        # Until whoever sends is ended.
        select.select([], [], [], 0 if is_read else 2)


def test_a_slow_reader_of_ours_is_none_of_rclones_faults_as_long_as_it_reads(impatient: Fake) -> None:
    store = impatient.does("exec head -c 8000000 /dev/zero")
    size = 0
    for block in store.read("a"):
        size += len(block)
        time.sleep(0.3)
    assert size == 8_000_000


def test_a_descriptor_that_is_closed_meanwhile_hides_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors = [os.open("/dev/null", os.O_RDONLY) for _number in range(2)]
    readlink = os.readlink

    def _closed(path: str) -> str:
        if path.endswith(f"/{descriptors[0]}"):
            raise FileNotFoundError(path)
        return readlink(path)

    monkeypatch.setattr(os, "readlink", _closed)
    assert "/dev/null" in remote._open_files("/proc/self/fd")
    for descriptor in descriptors:
        os.close(descriptor)


class Waiting:
    """A thread in which rclone hangs."""

    def __init__(self, store: Store) -> None:
        self.problem: RemoteError | None = None
        self.thread = threading.Thread(target=self._run, args=(store,), daemon=True)
        self.thread.start()

    def _run(self, store: Store) -> None:
        try:
            store.files("a")
        except RemoteError as problem:
            self.problem = problem

    def ended(self) -> RemoteError:
        self.thread.join(60)
        assert isinstance(self.problem, BrokenOffError)
        return self.problem


def test_where_nobody_counts_what_moves_only_the_end_ends_it(impatient: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_passed", lambda _pid: None)
    store = impatient.does(HANG)
    waiting = Waiting(store)
    time.sleep(2)
    assert waiting.thread.is_alive()
    store.end()
    assert waiting.ended().found == "the work was to end"
    assert impatient.is_gone()


def test_after_the_end_nothing_is_begun(fake: Fake) -> None:
    store = fake.does("echo '[]'; echo once >>calls")
    store.files("a")
    store.end()
    for what, work in OPERATIONS.items():
        with pytest.raises(BrokenOffError, match="vault was broken off"):
            work(store, fake.folder)
        assert (fake.folder / "calls").read_text() == "once\n", what


def test_in_a_hurry_a_short_standstill_is_enough(fake: Fake) -> None:
    fake.store = Store(replace(fake.store.remote, timeout=1000))
    store = fake.does(HANG)
    waiting = Waiting(store)
    store.hurry(0.5)
    problem = waiting.ended()
    assert "stood still" in problem.what
    assert fake.is_gone()
    store.hurry(5000)
    assert "stood still" in Waiting(store).ended().what


def test_what_still_moves_when_the_service_ends_is_broken_off_and_is_no_trouble(
    fake: Fake, kept: Kept, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushservice, "_LAST_PASS", 0.5)
    scene.commit(1)
    scene.backup(2)
    moves = "while 1: open('moved', 'wb', 0).write(bytes(20000)); time.sleep(0.05)"
    store = fake.does(f'exec "{sys.executable}" -ISc "import time\n{moves}"')
    said: list[str] = []
    pusher = Pusher(kept[0], kept[1], [store.remote], said.append)
    service = threading.Thread(target=pusher.run, daemon=True)
    service.start()
    while not (fake.folder / "moved").exists():
        time.sleep(0.05)
    pusher.stop.set()
    service.join(60)
    assert not service.is_alive()
    assert fake.is_gone()
    assert said == []
    assert list(Path(kept[0].folder("events"), "remotes").glob("*.json")) == []


def test_a_file_of_ours_that_breaks_off_does_not_end_like_a_whole_one(fake: Fake, place: Store) -> None:
    def blocks() -> Iterator[bytes]:
        yield BLOCK[:50_000]
        time.sleep(0.5)
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        fake.does("cat >/dev/null && echo >whole").write("a", blocks())
    assert fake.is_gone()
    assert not (fake.folder / "whole").exists()
    fake.program.unlink()
    with pytest.raises(OSError, match="the disk"):
        place.write("one/a", blocks())
    assert place.files("one") == {}


def test_a_listing_during_which_folders_go_away_is_made_again(fake: Fake) -> None:
    """A server that seals removes the folders that it has emptied; that is not an empty place."""
    recursive = 'echo >>calls; [ $(wc -l <calls) -ge 3 ] || exit 3; echo \'[{"Path": "b", "Size": 1}]\''
    store = fake.does(f"case $* in *--recursive*) {recursive};; *) echo '[]';; esac")
    assert store.files("a") == {"b": 1}
    store = fake.does("case $* in *--recursive*) exit 3;; *) echo '[]';; esac")
    assert "went away while they were listed" in refusal(lambda: store.files("a")).found


def test_nothing_of_our_environment_gets_there_that_could_change_what_the_configuration_says(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RCLONE_CONFIG_VAULT_PASS", "RCLONE_CONFIG", "AWS_SECRET_ACCESS_KEY", "AWS_CA_BUNDLE", "SOMETHING"):
        monkeypatch.setenv(name, "leak")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")
    fake.does("env >environment; echo '[]'").files("a")
    said = (fake.folder / "environment").read_text()
    assert "leak" not in said
    assert "https_proxy=http://127.0.0.1:3128" in said


def test_a_configuration_that_wants_a_password_is_refused_and_our_data_is_not_taken_for_one(place: Store) -> None:
    Path(place.remote.rclone).write_text("RCLONE_ENCRYPT_V0:\n" + "QUJD" * 30 + "\n")
    assert "password" in refusal(lambda: place.write("a", [b"data\n" * 1000])).found


def test_without_rclone_it_is_said_how_to_get_it(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match="rclone is not installed"):
        place.files("a")
