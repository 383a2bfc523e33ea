"""Extended attributes: read and written as they are, whatever they hold."""

import errno
import os
import struct
from pathlib import Path

from pinfold.sources.directory import attributes

ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, rights, number)
    for tag, rights, number in [
        (1, 6, ~0 & 0xFFFFFFFF),
        (2, 4, 1234),
        (4, 4, 0xFFFFFFFF),
        (16, 4, 0xFFFFFFFF),
        (32, 0, 0xFFFFFFFF),
    ]
)


def test_attributes_come_back_sorted(tmp_path: Path) -> None:
    """What is written is read again by name, by descriptor and by path, names in order, values with any bytes."""
    path = tmp_path / "a"
    path.touch()
    pairs = ((b"system.posix_acl_access", ACL), (b"user.a\xff", b""), (b"user.b", b"\0\xff"))
    with path.open("rb") as file:
        assert [] == attributes.write(file.fileno(), pairs[::-1])
        assert (pairs, ()) == attributes.read(file.fileno())
    assert (pairs, ()) == attributes.read(os.fsencode(path))


def test_without_attributes_there_is_nothing(tmp_path: Path) -> None:
    """A file without attributes has none, and no problem."""
    path = tmp_path / "a"
    path.touch()
    assert ((), ()) == attributes.read(os.fsencode(path))


def test_a_symlink_is_read_itself(tmp_path: Path) -> None:
    """Attributes of what a symlink leads to are not the symlink's."""
    (tmp_path / "a").touch()
    os.setxattr(tmp_path / "a", "user.a", b"1")
    (tmp_path / "link").symlink_to("a")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        found = [attributes.read(attributes.beside(fd, name)) for name in (b"link", b"a")]
    finally:
        os.close(fd)
    assert [((), ()), (((b"user.a", b"1"),), ())] == found
    assert (((b"user.a", b"1"),), ()) == attributes.read(os.fsencode(tmp_path / "link"), follow=True)


def test_what_is_gone_is_a_problem(tmp_path: Path) -> None:
    """A file that cannot be asked gives no attributes and says why."""
    found, problems = attributes.read(os.fsencode(tmp_path / "none"))
    assert ((), ("its attributes cannot be listed: No such file or directory",)) == (found, problems)


def test_more_than_fits_is_left_out_and_said(tmp_path: Path) -> None:
    """Attributes are taken in order up to 128 KiB; each one left out is named."""
    path = Path("/dev/shm") / f"pinfold-{os.getpid()}-{tmp_path.name}"  # noqa: S108 -- ext4 gives 4 KiB, tmpfs more
    path.touch()
    try:
        for name in "abc":
            os.setxattr(path, f"trusted.{name}" if os.geteuid() == 0 else f"user.{name}", bytes(50 << 10))
        found, problems = attributes.read(os.fsencode(path))
    finally:
        path.unlink()
    assert [b"a", b"b"] == [name[-1:] for name, _ in found]
    assert 1 == len(problems)
    assert problems[0].endswith(".c is left out: more than 128 KiB of attributes")


def test_what_cannot_be_set_is_named(tmp_path: Path) -> None:
    """Each attribute that is refused is named with the reason; the others are set."""
    path = tmp_path / "a"
    path.touch()
    pairs = ((b"nowhere.a", b"1"), (b"user.\0", b"1"), (b"user.a", b"1"))
    failed = attributes.write(os.fsencode(path), pairs)
    assert [(b"nowhere.a", errno.ENOTSUP), (b"user.\0", errno.EINVAL)] == failed
    assert ["user.a"] == os.listxattr(path)


def test_inherited_acls_are_taken_away(tmp_path: Path) -> None:
    """What is born with an ACL in a folder that hands one down loses it, and what has none stays as it is."""
    os.setxattr(tmp_path, "system.posix_acl_default", ACL)
    folder = tmp_path / "folder"
    folder.mkdir()
    file = tmp_path / "file"
    file.touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert attributes.hands_down(fd)
    finally:
        os.close(fd)
    for path in (folder, file, file):
        attributes.disinherit(os.fsencode(path))
        assert [] == os.listxattr(path)
