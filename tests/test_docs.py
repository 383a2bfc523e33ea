"""The commands that the documents show are run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pyrage
import pytest

from pinfold.config import Policy, SourceSettings, load
from pinfold.config.layers import KEYS
from pinfold.store import address

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
MARK = re.compile(r"^<!-- run: ([\w-]+) -->\n```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def marked() -> list[tuple[str, str]]:
    """Name and text of every block that is marked as one to run."""
    return [(f"{path.name}-{name}", text) for path in DOCUMENTS for name, text in MARK.findall(path.read_text("utf-8"))]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's home: documents, an age identity and its recipient."""
    documents = tmp_path / "documents" / "letters"
    documents.mkdir(parents=True)
    (documents / "to a friend.txt").write_text("hello\n", "utf-8")
    (tmp_path / "documents" / "picture").write_bytes(bytes(range(256)) * 4096)
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity.txt").write_text(f"{identity}\n", "utf-8")
    (tmp_path / "identity.txt").chmod(0o600)
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
    for path in (home / "documents").rglob("*") if "restored" in text else ():
        restored = home / "restored" / path.relative_to(home / "documents")
        assert path.is_dir() == restored.is_dir()
        assert path.is_dir() or path.read_bytes() == restored.read_bytes()


def test_every_document_with_commands_is_run() -> None:
    """A block that begins a line with `pinfold` is marked to be run, or is a transcript of the demo."""
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        blocks = re.findall(r"^(<!-- run(?:: | with )[\w-]+ -->\n)?```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        loose = [block for mark, block in blocks if not mark and re.search(r"^pinfold ", block, re.MULTILINE)]
        assert [] == loose


def test_every_command_is_in_the_readme() -> None:
    """The table of commands in README.md names every command there is."""
    from pinfold.cli.app import pinfold as group  # noqa: PLC0415

    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme[readme.index("## Commands") :]
    commands = group.list_commands(group.make_context("pinfold", [], resilient_parsing=True))
    assert [] == [name for name in commands if not re.search(rf"`[^`]*\b{name}\b", table)]


def example(name: str) -> str:
    """An example of settings in docs/configuration.md."""
    document = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    found = re.search(rf"^<!-- example: {re.escape(name)} -->\n```toml\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_of_settings(tmp_path: Path) -> None:
    """The full example is read without a mistake, and says what its comments say."""
    (tmp_path / "pinfold.toml").write_text(example("pinfold.toml"), "utf-8")
    found = load({}, {"HOME": "/home/me"}, tmp_path)
    assert found.passphrase is not None
    assert ("/srv/backups/vault", ("/mnt/usb/vault",), 2, tmp_path / "passphrase", 300) == (
        found.repository,
        found.mirrors,
        found.min_copies,
        found.passphrase.path,
        found.checkpoint,
    )
    assert (3, 7, 5, 12, ("keep",)) == (
        *(getattr(found.keep, one) for one in ("last", "daily", "weekly", "monthly")),
        found.keep.tags,
    )
    assert {"home": Path("/home/me"), "etc": Path("/etc")} == {name: one.path for name, one in found.sources.items()}


def test_the_example_of_mirrors(tmp_path: Path) -> None:
    """The example of mirrors is read without a mistake."""
    (tmp_path / "pinfold.toml").write_text(example("mirrors"), "utf-8")
    found = load({}, {"HOME": "/home/me"}, tmp_path)
    assert (("/mnt/usb/vault", "/net/nas/vault"), 2) == (found.mirrors, found.min_copies)


def test_the_example_of_far_stores(tmp_path: Path) -> None:
    """The example of far stores is read without a mistake, and every store in it is one."""
    (tmp_path / "pinfold.toml").write_text(example("far"), "utf-8")
    found = load({}, {"HOME": "/home/me"}, tmp_path)
    far = [address.parse(where) for where in (found.repository or "", *found.mirrors)]
    assert ["kubo", "cluster", None] == [one and one.kind for one in far]
    assert {found.repository, found.mirrors[0]} == set(found.access)


def test_every_option_of_an_address_is_in_the_reference() -> None:
    """docs/configuration.md names the kinds of far stores, each with all options its address may have."""
    document = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)\+https?://\S*` \|.*\| ([^|]*) \|$", document, re.MULTILINE)
    assert address.OPTIONS == {kind: set(re.findall(r"`(\w+)`", options)) for kind, options in rows}


def test_every_setting_is_in_the_reference() -> None:
    """docs/configuration.md has a row for every key and names every variable, and none too many."""
    document = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    tables = {
        title: set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE))
        for title, part in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", document, re.MULTILINE | re.DOTALL)
    }
    kept = {field.name for field in fields(Policy)}
    top = {key for key in KEYS if not key.startswith("keep_")} - {"passphrase", "token"}
    assert top == tables["Keys at the top"]
    assert kept == tables["`[keep]`: which snapshots `forget` keeps"]
    assert {field.name for field in fields(SourceSettings)} - {"name"} == tables["`[sources.NAME]`: what is backed up"]
    assert {f"PINFOLD_{key.upper()}" for key in (*KEYS, "config")} == set(re.findall(r"`(PINFOLD_\w+[A-Z])`", document))


def test_links_between_documents() -> None:
    """Every link to a file of the project leads to one, and to a heading that is there."""
    for path in DOCUMENTS:
        for target, _, heading in (
            link.partition("#") for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", path.read_text("utf-8"))
        ):
            other = path.parent / target if target else path
            assert other.exists(), f"{path.name}: {target}"
            headings = (
                [
                    re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-")
                    for line in re.findall(r"^#+ (.*)$", other.read_text("utf-8"), re.MULTILINE)
                ]
                if heading
                else [""]
            )
            assert heading in headings, f"{path.name}: {target}#{heading}"
