"""A store folder that another user prepared: links and pipes in the place of files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Refused, StoreError
from pinfold.store import FolderStore
from pinfold.store.folder.layout import write_for_good
from store.dags import hold

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with one pin."""
    made = tmp_path / "store"
    with FolderStore.create(made) as store:
        store.pin(hold(store).root, "a/pin")
    return made


def test_a_pipe_for_a_marker(path: Path) -> None:
    """A pipe in the place of the marker is refused and waits for nobody."""
    (path / "pinfold-store.json").unlink()
    os.mkfifo(path / "pinfold-store.json")
    with pytest.raises(Refused, match="no regular file"):
        FolderStore.open(path)


@pytest.mark.parametrize("link", [True, False])
def test_a_pin_that_is_no_file(path: Path, link: bool) -> None:  # given by pytest
    """A link or a pipe among the pins is told, and the other pins are there."""
    odd = path / "pins" / "a" / "odd"
    if link:
        odd.symlink_to("/etc/passwd")
    else:
        os.mkfifo(odd)
    with FolderStore.open(path) as store:
        assert ["a/pin"] == [pin.name for pin in store.pins()]
        assert len(store.warnings) == 1


def test_a_lock_that_is_a_link(path: Path, tmp_path: Path) -> None:
    """A lock that leads elsewhere makes nothing there."""
    for lock in (path / "locks").iterdir():
        lock.unlink()
    for name in ("index", "pins", "sweep", "collect"):
        (path / "locks" / name).symlink_to(tmp_path / f"elsewhere-{name}")
    with pytest.raises(StoreError):
        list(FolderStore.open(path).pins())
    assert [] == list(tmp_path.glob("elsewhere-*"))


def test_small_files_are_not_written_through_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file written aside is never one that stands there, a link least of all."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr(os, "urandom", bytes)
    (tmp_path / f".name.{bytes(6).hex()}.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_for_good(tmp_path / "name", b"x")
    assert "precious" == victim.read_text()
