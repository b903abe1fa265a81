from __future__ import annotations

import grp
import os
import pwd
import stat
import struct
from pathlib import Path

import pytest
from unit.places import NOBODY, Disk, as_nobody, contained, open_to_all

from litekeep import ownership
from litekeep.ownership import Attributes, attributes_from_manifest, attributes_of

ACL = "system.posix_acl_access"


def acl(user: int) -> bytes:
    """u::rw- u:USER:r-- g::r-- m::r-- o::--- as the kernel keeps it (acl(5), linux/posix_acl_xattr.h)."""
    anybody = 0xFFFFFFFF
    entries = [(1, 6, anybody), (2, 4, user), (4, 4, anybody), (16, 4, anybody), (32, 0, anybody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("old", "new"):
        (tmp_path / name).write_text(name)
    (tmp_path / "new").chmod(0o600)
    return tmp_path / "old", tmp_path / "new"


def test_mode_acl_and_other_attributes_are_given_on(two: tuple[Path, Path]) -> None:
    old, new = two
    old.chmod(0o640)
    os.setxattr(old, "user.note", b"mine")
    os.setxattr(old, ACL, acl(12345))
    assert attributes_of(str(old)).apply(str(new)) == []
    assert os.getxattr(new, "user.note") == b"mine"
    assert os.getxattr(new, ACL) == acl(12345)
    assert stat.S_IMODE(new.stat().st_mode) == stat.S_IMODE(old.stat().st_mode)
    assert new.read_text() == "new"


def test_the_owner_is_given_on(two: tuple[Path, Path]) -> None:
    old, new = two
    if os.getuid() == 0:
        os.chown(old, NOBODY, NOBODY)
    attributes_of(str(old)).apply(str(new))
    assert (new.stat().st_uid, new.stat().st_gid) == (old.stat().st_uid, old.stat().st_gid)


def test_a_mode_that_a_change_of_owner_would_take_away_stays(two: tuple[Path, Path]) -> None:
    old, new = two
    if os.getuid() == 0:
        os.chown(old, NOBODY, NOBODY)
    old.chmod(0o2660)
    attributes_of(str(old)).apply(str(new))
    assert stat.S_IMODE(new.stat().st_mode) == 0o2660


def test_what_cannot_be_given_without_root_is_said_and_the_rest_is_given(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    tmp_path.chmod(0o777)

    def work() -> None:
        new = tmp_path / "nobodys"
        new.write_text("x")
        refused = Attributes(0, 0, 0o640, {"trusted.note": b"x", "user.note": b"y"}).apply(str(new))
        assert len(refused) == 2
        assert refused[0].startswith("the owner 0:0 could not be given (Operation not permitted)")
        assert refused[1].startswith("trusted.note: ")
        assert stat.S_IMODE(new.stat().st_mode) == 0o640
        assert os.getxattr(new, "user.note") == b"y"

    as_nobody(work)


def test_a_link_laid_in_the_way_is_not_followed(two: tuple[Path, Path], tmp_path: Path) -> None:
    """The target's folder belongs to the application: a link there must not lead root to another file."""
    old, new = two
    (tmp_path / "link").symlink_to(new)
    with pytest.raises(OSError, match=r"."):
        Attributes(old.stat().st_uid, old.stat().st_gid, 0o666, {"user.note": b"x"}).apply(str(tmp_path / "link"))
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    assert os.listxattr(new) == []


def test_an_owner_that_this_container_does_not_know_is_said_and_does_not_stop_a_restore(tmp_path: Path) -> None:
    def work(disk: Disk) -> None:
        (disk / "new").write_text("x")
        assert len(Attributes(4321, 4321, 0o640).apply(str(disk / "new"))) == 1
        assert stat.S_IMODE((disk / "new").stat().st_mode) == 0o640

    open_to_all(tmp_path)
    contained(tmp_path / "disk", work)


def test_the_names_of_the_manifest_are_looked_up_on_this_host(tmp_path: Path) -> None:
    user, group = pwd.getpwnam("daemon"), grp.getgrnam("daemon")
    found = attributes_from_manifest({"owner": "daemon", "group": "daemon", "mode": "0640"}, str(tmp_path))
    assert found == Attributes(user.pw_uid, group.gr_gid, 0o640)


@pytest.mark.parametrize(
    "source", [{}, {"owner": "no-such-user", "group": "no-such-group", "mode": "rw-"}, {"owner": None, "mode": None}]
)
def test_unknown_names_become_the_directorys_owner_and_a_private_mode(
    tmp_path: Path, source: dict[str, object]
) -> None:
    around = tmp_path.stat()
    assert attributes_from_manifest(source, str(tmp_path)) == Attributes(around.st_uid, around.st_gid, 0o600)


def test_no_set_user_id_comes_from_a_manifest(tmp_path: Path) -> None:
    assert attributes_from_manifest({"mode": "6755"}, str(tmp_path)).mode == 0o755


def test_a_file_system_without_extended_attributes_is_fine() -> None:
    assert ownership.attributes_of("/proc/self/status").xattrs == {}
