"""The commands that the documents show are run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
MARK = re.compile(r"^<!-- run: ([\w-]+) -->\n```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def marked() -> list[tuple[str, str]]:
    """Name and text of every block that is marked as one to run."""
    return [(f"{path.name}-{name}", text) for path in DOCUMENTS for name, text in MARK.findall(path.read_text("utf-8"))]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's home: documents, a passphrase, an age identity and its recipient."""
    documents = tmp_path / "documents" / "letters"
    documents.mkdir(parents=True)
    (documents / "to a friend.txt").write_text("hello\n", "utf-8")
    (tmp_path / "documents" / "picture").write_bytes(bytes(range(256)) * 4096)
    (tmp_path / "passphrase").write_text("correct horse\n", "utf-8")
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity.txt").write_text(f"{identity}\n", "utf-8")
    (tmp_path / "recipient.txt").write_text(f"{identity.to_public()}\n", "utf-8")
    return tmp_path


@pytest.mark.parametrize(("name", "text"), marked(), ids=[name for name, _ in marked()])
def test_commands(home: Path, name: str, text: str) -> None:  # noqa: ARG001  # the name is the test's
    """A block of commands works, line by line, and a restore in it gives back what was saved."""
    tools = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        env={"HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}", "LANG": "C.UTF-8"},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, False) == (done.returncode, "pinfold:" in done.stderr), done.stderr
    for path in (home / "documents").rglob("*"):
        restored = home / "restored" / path.relative_to(home / "documents")
        assert path.is_dir() == restored.is_dir()
        assert path.is_dir() or path.read_bytes() == restored.read_bytes()


def test_every_document_with_commands_is_run() -> None:
    """A block that begins a line with `pinfold` is marked to be run, or is a transcript of the demo."""
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        blocks = re.findall(r"^(<!-- run: [\w-]+ -->\n)?```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        loose = [block for mark, block in blocks if not mark and re.search(r"^pinfold ", block, re.MULTILINE)]
        assert [] == loose


def test_every_command_is_in_the_readme() -> None:
    """The table of commands in README.md names every command there is."""
    from pinfold.cli.app import pinfold as group  # noqa: PLC0415

    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme[readme.index("## Commands") :]
    commands = group.list_commands(group.make_context("pinfold", [], resilient_parsing=True))
    assert [] == [name for name in commands if not re.search(rf"`[^`]*\b{name}\b", table)]
