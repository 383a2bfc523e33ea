"""Rules of the house that no linter knows: sizes, words that must not appear, lists that must be complete."""

import re
import statistics
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 500
MEDIAN = 150
SUMMARY = re.compile(r"(Bugfix|Enhancement|Change|Security): \S.*[^.\s]")
SUMMARY_LENGTH = 100

# Joined here from parts, so that this file does not contain what it looks for.
MARKS = ["TO" + "DO", "FIX" + "ME"]
FOLDERS = ["wo" + "rk", "ro" + "ot"]
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("proxy", "golang", "org"),
        ("sum", "golang", "org"),
        ("registry", "npmjs", "org"),
        ("crates", "io"),
        ("deb", "debian", "org"),
    )
]
FORBIDDEN = re.compile(
    rf"\b(?:{'|'.join(MARKS)})\b"
    rf"|(?<![\w.}}/-])/(?:{'|'.join(FOLDERS)})\b"  # an absolute path; "blocks/root" is none
    rf"|{'|'.join(map(re.escape, REGISTRIES))}"
)


def files(*patterns: str) -> list[Path]:
    """Return what git holds or would take: a file is held to the rules before it is committed."""
    # safe.directory, because a runner's checkout often belongs to another user.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    listed = subprocess.run([*command, *patterns], cwd=ROOT, capture_output=True, check=True).stdout
    paths = {ROOT / name for name in listed.decode().split("\0") if name}
    return sorted(path for path in paths if path.is_file())


def code_lines(path: Path) -> int:
    """Count the lines that are neither blank nor a comment; docstrings count."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return sum(1 for line in lines if line and not line.startswith("#"))


def forbidden_words(path: Path) -> Iterator[str]:
    """Give "file:line: word" for each forbidden word."""
    for number, line in enumerate(path.read_bytes().decode("latin-1").split("\n"), 1):
        for word in FORBIDDEN.findall(line):
            yield f"{path.relative_to(ROOT)}:{number}: {word}"


@pytest.mark.parametrize("folder", ["src", "tests", "tools", "bench"])
def test_no_file_is_long(folder: str) -> None:
    """No Python file has more than 500 lines of code."""
    long = {str(path.relative_to(ROOT)): n for path in files(f"{folder}/*.py") if (n := code_lines(path)) > LONGEST}
    assert {} == long


@pytest.mark.parametrize("folder", ["src", "tests"])
def test_most_files_are_short(folder: str) -> None:
    """Half of the files have fewer than 150 lines of code."""
    assert statistics.median(code_lines(path) for path in files(f"{folder}/*.py")) < MEDIAN


def test_no_forbidden_word() -> None:
    """No file names a folder of one machine, a package registry's host, or work left undone."""
    assert [] == [found for path in files() for found in forbidden_words(path)]


@pytest.mark.parametrize("word", [*MARKS, *REGISTRIES, *(f"open(/{folder}/x)" for folder in FOLDERS)])
def test_forbidden_words_are_found(word: str) -> None:
    """The pattern finds each of the words it is made for."""
    assert FORBIDDEN.search(f"see {word}: later")


@pytest.mark.parametrize("text", ["blocks/root", "a/work/b", "{ROOT}/root", "/roots"])
def test_other_words_are_left_alone(text: str) -> None:
    """The pattern leaves alone what only looks like a forbidden word."""
    assert None is FORBIDDEN.search(text)


def test_every_dependency_is_explained() -> None:
    """The dependencies of pyproject.toml are the ones docs/dependencies.md has a row for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [project["build-system"]["requires"], project["project"]["dependencies"]]
    groups += [*project["dependency-groups"].values(), *project["project"]["optional-dependencies"].values()]
    names = {re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for group in groups for requirement in group}
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert names == set(re.findall(r"^\| ([\w.-]+) \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE)) - {"package"}


def test_every_dependency_is_locked() -> None:
    """Each runtime dependency is in requirements/run.txt, and whatever is locked there is locked alike for tests."""
    run, dev = (
        dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements" / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("run.txt", "dev.txt")
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    declared = {re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in wanted}
    assert set() == {name.replace(".", "-") for name in declared} - run.keys()
    assert run == {name: dev.get(name) for name in run}


def test_changes_follow_the_template() -> None:
    """Each file in changes/ has a summary line with its kind, an empty line, and a paragraph for the user."""
    wrong = []
    for path in files("changes/*"):
        text = path.read_text(encoding="utf-8")
        if path.name == "TEMPLATE":
            text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        summary, _, paragraph = text.partition("\n\n")
        short = SUMMARY.fullmatch(summary) and len(summary) <= SUMMARY_LENGTH
        if not short or not paragraph.strip() or re.search(r"^#", text, re.MULTILINE):
            wrong.append(str(path.relative_to(ROOT)))
    assert [] == wrong
