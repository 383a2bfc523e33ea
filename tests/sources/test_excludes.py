"""Exclusion: git is the oracle for patterns; markers, sizes and lists of files are told by example."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.errors import ConfigError, UsageError
from pinfold.sources.directory.excludes import CACHE_SIGNATURE, Chosen, Rules, parse_files_from

NAMES = [b"a", b"b", b"ab", b"a b", b"a.b", b"\xff", b"n\nn", "é".encode()]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository without commits, three folders deep, with awkward names."""
    root = tmp_path_factory.mktemp("tree")
    subprocess.run(["git", "init", "-q", root], check=True)
    for first in map(os.fsdecode, NAMES):
        for second in NAMES[:4]:
            folder = root / f"d{first}" / os.fsdecode(second)
            (folder / "b").mkdir(parents=True)
            for name in map(os.fsdecode, NAMES):
                (folder / f"f{name}").touch()
            (folder / "b" / "a").touch()
        (root / first).touch()
    return root


def walk(root: Path, rules: Rules) -> set[bytes]:
    """The files that a backup under these rules would take."""
    found = set()
    todo = [b""]
    while todo:
        folder = todo.pop()
        with os.scandir(os.fsencode(root) + b"/" + folder) as entries:
            for entry in entries:
                path = folder + b"/" + entry.name if folder else entry.name
                is_folder = entry.is_dir(follow_symlinks=False)
                if path == b".git" or rules.leaves_out(path, is_folder, 0):
                    continue
                if is_folder:
                    todo.append(path)
                else:
                    found.add(path)
    return found


def by_git(root: Path, patterns: list[str]) -> set[bytes]:
    """The files that git would not ignore under these patterns."""
    listed = root / ".git" / "patterns"
    listed.write_bytes("".join(line + "\n" for line in patterns).encode("utf-8", "surrogateescape"))
    command = ["git", "ls-files", "-z", "--others", "--exclude-from", str(listed)]
    out = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout
    return set(filter(None, out.split(b"\0")))


@pytest.mark.parametrize(
    "patterns",
    [
        [],
        ["fa"],
        ["*.b", "!fa.b"],
        ["da/**", "!da/a", "!da/a/fa"],
        ["/da/*", "!/da/a/", "fa*"],
        ["da/", "!da/a/fa"],
        ["**/b/", "d[a-c]/[ab]/f[[:alpha:]]*"],
        ["/*", "!/da/"],
        ["da/**/", "a/**/fa", "**"],
        ["\udcff", "é", "dé"],
        ["a\\ b", "fa b  ", "# a", "", "\\!a", "f[]a-]"],
        ["*/", "!da/", "!da/a/"],
    ],
)
def test_patterns_mean_what_git_means(tree: Path, patterns: list[str]) -> None:
    """A walk under the patterns takes the files that git does not ignore."""
    assert by_git(tree, patterns) == walk(tree, Rules(patterns))


PIECES = [
    "a",
    "\\a",
    "***",
    "/**/",
    "[^b]",
    "[]a]",
    "[[:lower:]]",
    "b",
    "d",
    "f",
    "da",
    "*",
    "**",
    "?",
    "/",
    ".b",
    " ",
    "[ab]",
    "[!a]",
    "é",
]


@given(st.lists(st.tuples(st.sampled_from(["", "!", "/"]), st.lists(st.sampled_from(PIECES), max_size=5)), max_size=5))
def test_random_patterns_mean_what_git_means(tree: Path, drawn: list[tuple[str, list[str]]]) -> None:
    """Whatever patterns are not refused mean what git means by them, save that `?` and `[!a]` take a whole letter."""
    patterns = [sign + "".join(pieces) for sign, pieces in drawn]
    # Git compares apart what stands before a star, and so takes "d**/a" for "d" and "**/a", against its manual.
    patterns = [pattern for pattern in patterns if not re.search(r"[^/*]\*\*", pattern.removeprefix("!"))]
    try:
        rules = Rules(patterns)
    except ConfigError:
        return
    # A class or `?` stands for one letter here, for one byte in git; names of one byte a letter show no difference.
    plain = {path for path in by_git(tree, patterns) if path.isascii()}
    assert plain == {path for path in walk(tree, rules) if path.isascii()}


def test_a_letter_of_two_bytes_is_one_letter(tree: Path) -> None:
    """`?` stands for one letter, however many bytes it has."""
    del tree
    assert Rules(["caf?"]).leaves_out("café".encode(), is_folder=False)


def test_a_name_may_end_in_any_byte() -> None:
    """A pattern whose last letter holds the byte A0, or is a wide space, keeps it."""
    assert [True, True] == [Rules([name]).leaves_out(name.encode(), is_folder=False) for name in ("voilà", "a\u3000")]


def test_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Bad patterns are refused with their file and line, all of them together, and so is a missing file."""
    listed = tmp_path / "list"
    listed.write_bytes(b"\xef\xbb\xbf# fine\r\n*.o\r\n[z-a]\n/\n\n!\n")
    with pytest.raises(ConfigError) as caught:
        Rules(["a\0b"], [listed, tmp_path / "none"])
    places = ["--exclude: ", f"{listed}, line 3: ", f"{listed}, line 4: ", f"{listed}, line 6: "]
    places.append(f"--exclude-file {tmp_path / 'none'}: cannot be read: No such file")
    assert len(places) == len(caught.value.mistakes)
    assert [] == [
        one for one, start in zip(sorted(caught.value.mistakes), sorted(places), strict=True) if start not in one
    ]


def test_files_of_patterns_are_read(tmp_path: Path) -> None:
    """A file of patterns may begin with a byte order mark, end its lines as Windows does, and hold any bytes."""
    listed = tmp_path / "list"
    listed.write_bytes(b"\xef\xbb\xbf*.o\r\nb\xff\n")
    rules = Rules([], [listed])
    asked = [rules.leaves_out(path, is_folder=False) for path in (b"x/a.o", b"x/b\xff", b"x/b", b"")]
    assert [True, True, False, False] == asked


def test_larger_files_are_left_out() -> None:
    """Only files of more bytes than the limit are left out, folders never."""
    rules = Rules(larger_than=10)
    assert [False, True, False] == [
        rules.leaves_out(b"a", is_folder=False, size=10),
        rules.leaves_out(b"a", is_folder=False, size=11),
        rules.leaves_out(b"a", is_folder=True, size=4096),
    ]


@pytest.mark.parametrize(
    ("content", "expected"), [(CACHE_SIGNATURE + b"\n# more", b"CACHEDIR.TAG"), (CACHE_SIGNATURE[:-1], None)]
)
def test_a_cache_is_known_by_its_signature(tmp_path: Path, content: bytes, expected: bytes | None) -> None:
    """A folder is marked by CACHEDIR.TAG only if the tag begins with all 43 bytes of the signature."""
    (tmp_path / "CACHEDIR.TAG").write_bytes(content)
    rules = Rules(caches=True)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        found = [rules.marker({b"CACHEDIR.TAG", b"x"}, folder) for folder in (fd, os.fsencode(tmp_path))]
    finally:
        os.close(fd)
    assert [expected, expected] == found


def test_a_tag_that_is_a_pipe_does_not_stop_the_walk(tmp_path: Path) -> None:
    """A CACHEDIR.TAG that is a pipe, a symlink or gone marks nothing."""
    os.mkfifo(tmp_path / "CACHEDIR.TAG")
    assert None is Rules(caches=True).marker({b"CACHEDIR.TAG"}, os.fsencode(tmp_path))
    assert None is Rules(caches=True).marker({b"CACHEDIR.TAG"}, b"nowhere")


def test_a_marker_of_ones_own_marks() -> None:
    """A folder that holds one of the named markers is marked by it, whatever is in it."""
    rules = Rules(markers=[".nobackup"])
    assert (True, True) == (rules.marks, rules.idle)
    assert (b".nobackup", None) == (rules.marker([b"a", b".nobackup"], b"x"), rules.marker([b"a"], b"x"))


def test_files_from_lines_and_zero_bytes(tmp_path: Path) -> None:
    """Paths come back relative, sorted and each once; a line's end is part of a name where zero bytes separate."""
    root = os.fsencode(tmp_path)
    lines = b"b/c\n./a//x/\n\n" + root + b"/z\n" + root + b"\nb/c\n\xff"
    assert [b"", b"a/x", b"b/c", b"z", b"\xff"] == parse_files_from(lines, tmp_path)
    assert [b"a\nb", b"c"] == parse_files_from(b"a\nb\0c", tmp_path)


@pytest.mark.parametrize(("data", "line"), [(b"a\n/etc/passwd", "line 2"), (b"a\0b\0c/../d", "entry 3")])
def test_files_from_stays_inside(tmp_path: Path, data: bytes, line: str) -> None:
    """A path outside the root, or one with '..', is refused with its line."""
    with pytest.raises(UsageError, match=f"--files-from, {line}: "):
        parse_files_from(data, tmp_path)


def test_chosen_takes_parents_and_what_lies_below() -> None:
    """A listed path brings the folders that lead to it and everything below it, and nothing beside it."""
    rules = Rules(chosen=Chosen([b"a/b", b"a/b-c/d", b"z"]))
    asked = [b"a", b"a/b", b"a/b/x/y", b"a/b-c", b"a/b-c/d", b"a/b-c/e", b"a/b-", b"ab", b"z", b"zz", b"y"]
    left = [rules.leaves_out(path, is_folder=True) for path in asked]
    assert [False, False, False, False, False, True, True, True, False, True, True] == left
    assert not Rules(chosen=Chosen([b"", b"a"])).leaves_out(b"q/r", is_folder=False)


def test_asking_is_cheap() -> None:
    """Twenty patterns are asked about 87,000 paths in less than a second or two of processor time."""
    rules = Rules([f"*.x{n}" for n in range(15)] + ["/build/", "node_modules/", "!keep.x1", "a/**/b", "*~"])
    begin = time.process_time()
    for n in range(87_000):
        rules.leaves_out(b"usr/share/doc/package/module/file%d.txt" % n, is_folder=False, size=n)
    assert time.process_time() - begin < 2
