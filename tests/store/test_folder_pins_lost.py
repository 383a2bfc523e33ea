"""A store whose pin list is gone: nothing is taken for garbage, and nothing pretends that all is well."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Refused
from pinfold.store import FolderStore, Pin
from store.dags import trie

if TYPE_CHECKING:
    from pathlib import Path

DAG = trie(1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with one pin."""
    with FolderStore.create(tmp_path / "store") as store, store.session():
        store.put(DAG.blocks)
        store.pin(DAG.root, "one")
    return tmp_path / "store"


@pytest.mark.parametrize("emptied", [True, False])
@pytest.mark.parametrize("dry_run", [True, False])
def test_collecting_without_pins_is_refused(path: Path, *, emptied: bool, dry_run: bool) -> None:
    """Whether pins/ was emptied or removed, no block is freed, with exit code 4."""
    shutil.rmtree(path / "pins")
    if emptied:
        (path / "pins").mkdir()
    with FolderStore.open(path) as store:
        with pytest.raises(Refused, match=r"the pin list of .* is gone: nothing is safe to free") as refusal:
            store.collect(dry_run=dry_run)
        assert 4 == refusal.value.exit_code
        assert dict(DAG.blocks) == {cid: store.get(cid) for cid in DAG.cids}
        assert DAG.cids == store.has(DAG.cids)


def test_a_lost_pin_folder_is_told_and_not_made_anew(path: Path) -> None:
    """Listing, pinning and checking say that pins/ is gone; once it is back, all is as before."""
    (path / "pins").rename(path / "aside")
    with FolderStore.open(path) as store:
        with pytest.raises(Refused, match="put pins/ back"):
            store.pins()
        with pytest.raises(Refused, match="put pins/ back"):
            store.pin(DAG.root, "another")
        assert ["pins"] == [what for what, _ in store.check()]
    assert not (path / "pins").exists()
    (path / "aside").rename(path / "pins")
    with FolderStore.open(path) as store:
        assert [Pin(DAG.root, "one")] == list(store.pins())
        assert 0 == store.collect().freed_blocks


def test_an_empty_store_gets_its_pin_folder_back(tmp_path: Path) -> None:
    """Without blocks there is nothing to lose: a copy that left out empty folders works."""
    FolderStore.create(tmp_path / "store").close()
    (tmp_path / "store/pins").rmdir()
    with FolderStore.open(tmp_path / "store") as store:
        assert [] == list(store.pins())
        assert 0 == store.collect().freed_blocks
