"""A dry run of a restore says what the restore would do, and does none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Cli


def listing(root: Path) -> dict[str, tuple[int, int]]:
    """Every name below with its time and mode."""
    return {str(one): (one.lstat().st_mtime_ns, one.lstat().st_mode) for one in [root, *root.rglob("*")]}


def test_nothing_is_there_yet(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """Into a target that is not there all would be written, and the target is not made."""
    repo("backup", tree)
    dry = repo("restore", "latest", tmp_path / "back", "--dry-run", "--json").document
    assert not (tmp_path / "back").exists()
    done = repo("restore", "latest", tmp_path / "back", "--json").document
    for key in ("files", "folders", "others", "bytes", "kept", "removed", "problem_count"):
        assert (key, done[key]) == (key, dry[key])


@pytest.mark.parametrize("overwrite", ["never", "if-newer", "always"])
def test_what_is_there(repo: Cli, tree: Path, tmp_path: Path, overwrite: str) -> None:
    """What is there already, what would be kept, written and removed are as in the restore that follows."""
    repo("backup", tree)
    back = tmp_path / "back"
    repo("restore", "latest", back)
    (back / "etc" / "passwd").write_text("changed")
    (back / "large.bin").unlink()
    (back / "extra" / "more").mkdir(parents=True)
    (back / "etc" / "other").touch()
    before = listing(back)
    words = ("restore", "latest", back, "--delete", "--overwrite", overwrite)
    code = 0 if overwrite == "always" else 3
    told = repo(*words, "--dry-run", "-v", code=code)
    dry = repo(*words, "--dry-run", "--json", code=code).document
    assert before == listing(back)
    done = repo(*words, "--json", code=code).document
    for key in ("files", "bytes", "removed", "problem_count", "problems"):
        assert (key, done[key]) == (key, dry[key])
    assert ["remove  extra", "remove  etc/other"] == [one for one in told.out.splitlines() if one.startswith("remove")]
    assert "would remove 2 names" in told.out
    assert "there already" in told.out
    assert ("write   etc/passwd" in told.out.splitlines()) == (overwrite == "always")
    assert ("is kept" in told.err) == (overwrite != "always")
