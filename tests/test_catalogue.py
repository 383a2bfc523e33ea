"""Finding snapshots and keyrings by the pin list alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine import CHEAP, Rig, blocks_of, made, rig, write
from pinfold import catalogue, rekey
from pinfold.errors import Damaged, KeyFailure, PinfoldError, UsageError
from pinfold.ipld import CID
from pinfold.seal.secret import Secret
from pinfold.store import MemoryStore
from pinfold.store.seam import Pin

if TYPE_CHECKING:
    from pathlib import Path

    from pinfold.snapshot import Snapshot

ROOT = CID.of(0x55, b"x")


def three(path: Path, store: MemoryStore | None = None, seed: int = 0) -> tuple[Rig, list[Snapshot]]:
    """A repository with three snapshots of two sources."""
    here = rig(path / f"cache{seed}", store, seed=seed)
    root = write(path / f"tree{seed}", {"a": b"x"})
    return here, [made(here.backup(root, name)) for name in ("home", "work", "home")]


def test_every_way_to_say_it(tmp_path: Path) -> None:
    """A snapshot is found by root, id, the unique beginning or end of one, as the latest, and as a source's latest."""
    here, (first, second, third) = three(tmp_path)
    names = here.agent.source_id
    for one in (first, second, third):
        for cid in (str(one.root), str(one.id)):
            for text in (cid, cid[:40], cid[-12:]):
                assert one == catalogue.find(here.store, None, text)
    assert third == catalogue.find(here.store, None, "latest")
    assert second == catalogue.find(here.store, None, "latest:work", names)
    assert third == catalogue.find(here.store, here.key.repository, "latest:home", names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bafy", "means 3 snapshots"),
        ("nonsense", "no snapshot 'nonsense'"),
        ("abc", "no snapshot 'abc'"),
        ("", "no snapshot ''"),
        (str(ROOT), f"no snapshot {ROOT} in memory"),
        ("latest:nobody", "no snapshot of nobody in memory yet"),
        ("latest-one", "did you mean latest"),
    ],
)
def test_what_means_nothing(tmp_path: Path, text: str, words: str) -> None:
    """What names no snapshot, or several, is a mistake of the caller, and the message says what to do."""
    here, _ = three(tmp_path)
    with pytest.raises(UsageError, match=words):
        catalogue.find(here.store, None, text, here.agent.source_id)


def test_names_need_a_key(tmp_path: Path) -> None:
    """Without a key a source's latest cannot be found by its name, because names are sealed."""
    here, _ = three(tmp_path)
    with pytest.raises(UsageError, match="needs a key"):
        catalogue.find(here.store, None, "latest:home")


def test_a_snapshot_that_is_not_pinned(tmp_path: Path) -> None:
    """A root that is stored and pinned nowhere is still found by its whole CID."""
    here, (first, *_) = three(tmp_path)
    here.store.unpin([first.root])
    assert first == catalogue.find(here.store, None, str(first.root))
    assert first == catalogue.find(here.store, here.key.repository, str(first.root))


def test_which_repository(tmp_path: Path) -> None:
    """The only repository of a store is found; with none or two, the caller is told what to do."""
    store = MemoryStore()
    with pytest.raises(UsageError, match="pinfold init"):
        catalogue.the_repository(store)
    one, _ = three(tmp_path, store)
    assert one.key.repository == catalogue.the_repository(store)
    two, _ = three(tmp_path, store, 1)
    with pytest.raises(UsageError, match="several repositories"):
        catalogue.the_repository(store)
    assert sorted([one.key.repository, two.key.repository]) == catalogue.repositories(store)
    assert 3 == len(catalogue.listed(store, two.key.repository))


@pytest.mark.parametrize(
    "name",
    ["", "x", "pinfold", "pinfold/r/s/full", "pinfold/r/s/full/t/u", "pinfold/r/s/half/t", "other/r/s/full/t", "////"],
)
def test_other_pins_are_no_snapshots(name: str) -> None:
    """Pins of other names are passed over."""
    assert None is catalogue.Listed.of(Pin(ROOT, name))


def test_checkpoints_are_not_the_latest(tmp_path: Path) -> None:
    """What is left of an unfinished run is listed, but is neither the latest nor anybody's predecessor."""
    here, (*_, third) = three(tmp_path)
    copy = third.header.pin_name.replace("/full/2026", "/checkpoint/2027")
    here.store.pin(catalogue.listed(here.store, here.key.repository)[0].root, copy)
    assert "checkpoint" == catalogue.listed(here.store, here.key.repository)[-1].kind
    assert third == catalogue.find(here.store, None, "latest")
    agent, source = here.agent.signer.public.hex(), third.header.source
    assert third == catalogue.previous(here.store, here.key.repository, source, agent)


def test_the_predecessor_is_the_agents_own(tmp_path: Path) -> None:
    """Whom a snapshot follows is the same agent's newest whole one of the same source, if there is any."""
    here, (first, _, third) = three(tmp_path)
    source, own = first.header.source, here.agent.signer.public.hex()
    assert None is catalogue.previous(here.store, here.key.repository, source, "00" * 32)
    del blocks_of(here.store)[third.root.digest]  # type: ignore[arg-type]
    assert first == catalogue.previous(here.store, here.key.repository, source, own)


def test_broken_snapshots_are_told(tmp_path: Path) -> None:
    """Going through all snapshots passes over those that cannot be read, and says so, or raises if nobody listens."""
    here, (first, second, third) = three(tmp_path)
    del blocks_of(here.store)[second.root.digest]  # type: ignore[arg-type]
    told: list[tuple[catalogue.Listed, PinfoldError]] = []
    found = catalogue.snapshots(here.store, here.key.repository, broken=lambda *one: told.append(one))
    assert [first, third] == list(found)
    assert [second.root] == [one.root for one, _ in told]
    with pytest.raises(PinfoldError, match=str(second.root)):
        list(catalogue.snapshots(here.store, here.key.repository))


def test_a_strangers_snapshot_under_our_name(tmp_path: Path) -> None:
    """A sound snapshot of another repository pinned as one of ours is refused."""
    store = MemoryStore()
    ours, _ = three(tmp_path, store)
    _, (theirs, *_) = three(tmp_path, store, 1)
    store.pin(theirs.root, f"pinfold/{ours.key.repository}/{'0' * 16}/full/{theirs.header.finished}")
    with pytest.raises(KeyFailure, match="pinned under another snapshot's name"):
        list(catalogue.snapshots(store, ours.key.repository))


def test_the_newest_keyring(tmp_path: Path) -> None:
    """The keyring with the highest signed sequence wins, whatever name an older one is pinned under."""
    here, _ = three(tmp_path)
    old = next(here.store.pins(f"pinfold/{here.key.repository}/keyring/"))
    newer = rekey.add_passphrase(here.keyring, here.key, Secret(b"other"), "other", CHEAP)
    rekey.publish(here.store, newer)
    here.store.pin(old.root, f"pinfold/{here.key.repository}/keyring/999")
    assert newer == catalogue.newest_keyring(here.store, here.key.repository)


def test_a_lost_keyring_is_found_in_a_snapshot(tmp_path: Path) -> None:
    """When no keyring that stands alone is whole, those in the snapshots serve; when none is, it is damage."""
    here, snapshots = three(tmp_path)
    for pin in list(here.store.pins(f"pinfold/{here.key.repository}/keyring/")):
        del blocks_of(here.store)[pin.root.digest]  # type: ignore[arg-type]
    assert here.keyring == catalogue.newest_keyring(here.store, here.key.repository)
    here.store.unpin([one.root for one in snapshots])
    with pytest.raises(Damaged, match="no keyring of repository"):
        catalogue.newest_keyring(here.store, here.key.repository)


def test_what_a_keyrings_pin_tells() -> None:
    """The sequence in a keyring's pin name is a plain number, anything else is none."""
    numbers = {"7": 7, "0": 0, "-1": -1, "": -1, "x": -1, "9" * 18: -1, "²": -1}
    found = {text: catalogue.keyring_sequence(Pin(ROOT, f"pinfold/r/keyring/{text}")) for text in numbers}
    assert numbers == found
