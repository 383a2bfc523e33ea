"""What a store folder looks like from outside."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Refused
from pinfold.ipld import car
from pinfold.ipld.folders import list_folder
from pinfold.store import FolderStore, Pin
from store.dags import folder, hold, noise, raw

if TYPE_CHECKING:
    from pathlib import Path


def test_creating_and_opening_are_distinct(tmp_path: Path) -> None:
    """Nothing is created over something, and nothing is opened that is no store."""
    with pytest.raises(Refused, match="no pinfold store"):
        FolderStore.open(tmp_path / "store")
    FolderStore.create(tmp_path / "store").close()
    FolderStore.open(tmp_path / "store").close()
    with pytest.raises(Refused, match="is a store already"):
        FolderStore.create(tmp_path / "store")
    (tmp_path / "file").touch()
    with pytest.raises(Refused):
        FolderStore.create(tmp_path / "file")
    with pytest.raises(Refused):
        FolderStore.open(tmp_path / "file")


@pytest.mark.parametrize("marker", ["", "[]", "{}", '{"format": "other", "version": 1}', "[" * 5000])
def test_a_foreign_folder_is_refused(tmp_path: Path, marker: str) -> None:
    """A marker that is not ours is told apart from one of another version."""
    (tmp_path / "pinfold-store.json").write_text(marker)
    with pytest.raises(Refused, match="right folder"):
        FolderStore.open(tmp_path)


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    """A store of a later version says so."""
    (tmp_path / "pinfold-store.json").write_text(json.dumps({"format": "pinfold-store", "version": 2}))
    with pytest.raises(Refused, match="upgrade"):
        FolderStore.open(tmp_path)


def test_nobody_else_may_look(tmp_path: Path) -> None:
    """Files are 0600 and folders 0700."""
    dag = folder(noise(1, 5))
    with FolderStore.create(tmp_path / "store") as store:
        with store.session():
            store.put(dag.blocks)
            store.pin(dag.root, "a/b")
        paths = [tmp_path / "store", *(tmp_path / "store").rglob("*")]
        modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in paths}
    assert {(True, 0o700), (False, 0o600)} == modes


def test_a_pin_is_a_file_with_its_root(tmp_path: Path) -> None:
    """Pins can be read, copied and removed by eye."""
    dag = folder(noise(1, 5))
    with FolderStore.create(tmp_path / "store") as store:
        store.put(dag.blocks)
        store.pin(dag.root, "pinfold/repo/full/2026-01-01T00:00:00Z")
        file = tmp_path / "store/pins/pinfold/repo/full/2026-01-01T00:00:00Z"
        assert f"{dag.root}\n" == file.read_text()
        file.rename(tmp_path / "store/pins/by hand")
        assert [Pin(dag.root, "by hand")] == list(store.pins())
        store.unpin([dag.root])
        assert [] == list(store.pins())
        store.pin(dag.root, "pinfold/again")
        store.unpin([dag.root])
        assert not (tmp_path / "store/pins/pinfold/again").exists()


def test_folders_of_names_go_with_their_last_pin(tmp_path: Path) -> None:
    """Unpinning leaves no empty folders behind."""
    block = raw(b"x")
    with FolderStore.create(tmp_path / "store") as store:
        store.put([block])
        store.pin(block[0], "a/b/c")
        store.unpin([block[0]])
    assert [] == list((tmp_path / "store/pins").iterdir())


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "..", "a/../b", "./a", ".a", "a\nb", "a\0b", "a\\b", "x" * 250]
)
def test_odd_names_are_refused(tmp_path: Path, name: str) -> None:
    """No name leads out of pins/ or cannot be a path; the pin is not made."""
    block = raw(b"x")
    with FolderStore.create(tmp_path / "store") as store:
        store.put([block])
        with pytest.raises(Refused, match="cannot name a pin"):
            store.pin(block[0], name)
        assert [] == list(store.pins())


def test_a_name_that_looks_like_a_suffixed_one_stays(tmp_path: Path) -> None:
    """The tail that keeps equal names apart is stripped once, not more."""
    block = raw(b"x")
    name = f"same+{str(block[0])[-16:]}"
    with FolderStore.create(tmp_path / "store") as store:
        store.put([block])
        store.pin(block[0], name)
        assert [Pin(block[0], name)] == list(store.pins())


def test_a_pin_file_without_a_cid_is_told(tmp_path: Path) -> None:
    """One bad pin file does not hide the others; it is told, and nothing is freed while it is there."""
    with FolderStore.create(tmp_path / "store") as store:
        held = hold(store)
        (tmp_path / "store/pins/odd").write_text("not a cid\n")
        assert [Pin(held.root, "held")] == list(store.pins())
        assert ["odd holds no CID" in warning for warning in store.warnings] == [True]
        with pytest.raises(Refused, match=r"nothing was freed: pin file .*odd holds no CID"):
            store.collect()
        store.pin(held.root, "another name")
        assert [True] == ["holds no CID" in why for _, why in store.check()]


def test_a_sealed_car_lists_its_blocks(tmp_path: Path) -> None:
    """The one root of a sealed car is a folder of all its blocks by their CIDs, and lies in it."""
    blocks = dict(noise(1, 300))
    with FolderStore.create(tmp_path / "store") as store, store.session():
        store.put(blocks.items())
    (path,) = (tmp_path / "store/cars").iterdir()
    with path.open("rb") as file:
        roots, found = car.read_car(file)
        held = {block.cid: block.data for block in found}
    (root,) = roots
    assert {str(cid).encode(): cid for cid in blocks} == {
        entry.name: entry.cid for entry in list_folder(root, held.__getitem__)
    }
    assert blocks.items() <= held.items()


def test_sessions_share_a_car_and_leave_no_empty_one(tmp_path: Path) -> None:
    """Puts of one session follow one another in one car; a session that put nothing leaves none."""
    cars = tmp_path / "store/cars"
    with FolderStore.create(tmp_path / "store") as store:
        with store.session():
            pass
        assert [] == list(cars.iterdir())
        with store.session():
            for seed in range(5):
                store.put(noise(seed, 3))
        assert 1 == len(list(cars.iterdir()))
    assert [] == list((tmp_path / "store/writers").iterdir())


def test_cars_of_others_may_be_laid_in(tmp_path: Path) -> None:
    """A CAR from elsewhere, put into cars/, is part of the store from the next opening on."""
    dag = folder(noise(3, 4))
    FolderStore.create(tmp_path / "store").close()
    sections = b"".join(car.section(cid, block) for cid, block in dag.blocks)
    (tmp_path / "store/cars/foreign.car").write_bytes(car.header([dag.root, dag.root]) + sections)
    with FolderStore.open(tmp_path / "store") as store:
        store.pin(dag.root, "foreign")
        assert dict(dag.blocks) == {cid: store.get(cid) for cid in dag.cids}
