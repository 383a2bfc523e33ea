"""What a verification looks at, at each of its three prices, and how it tells what it found."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from engine import Rig, blocks_of, made, noise, rig, write
from pinfold import catalogue, snapshot, verify, wiring
from pinfold.blockset import BlockSet
from pinfold.config import Settings
from pinfold.errors import KeyFailure, Malformed, Unavailable, UsageError
from pinfold.ipld import list_folder
from pinfold.seal.keys import OwnerKey
from pinfold.seal.secret import Secret
from pinfold.store import Counting, Fault, Faulty, FolderStore, MemoryStore, Mirror, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pinfold.ipld import CID
    from pinfold.seal.keyring import Keyring
    from pinfold.snapshot import Header, Snapshot


def two_snapshots(path: Path) -> tuple[Rig, list[Snapshot]]:
    """A repository in a store whose calls are counted."""
    here = rig(path / "cache", Counting(MemoryStore()))
    root = write(path / "tree", {f"{n}": noise(n, 100_000) for n in range(40)} | {"large": noise(1, 3 << 20)})
    first = made(here.backup(root))
    write(root, {"new": noise(50, 100_000)})
    return here, [first, made(here.backup(root))]


def test_three_prices(tmp_path: Path) -> None:
    """Presence fetches no data block, reading fetches each once however many snapshots share it, opening opens all."""
    here, _ = two_snapshots(tmp_path)
    assert isinstance(here.store, Counting)
    counts = here.store.counts
    counts.clear()
    present = here.verify(key=False, read=False, decrypt=0)
    fetched = counts["bytes_got"]
    counts.clear()
    read = here.verify(key=False)
    assert (2, present.blocks, 0, 0) == (present.snapshots, read.blocks, present.read, read.opened)
    assert read.blocks == read.read
    assert fetched + read.bytes == counts["bytes_got"]
    assert fetched < 100_000
    opened = here.verify(read=False)
    assert 0 < opened.opened <= 2 * read.blocks
    assert 0 == present.damage_count + read.damage_count + opened.damage_count


def test_a_share_is_opened(tmp_path: Path) -> None:
    """Asked for a tenth of the chunks, another tenth for another seed, and the same for the same."""
    here, _ = two_snapshots(tmp_path)

    def tried(percent: float, seed: int) -> tuple[int, int]:
        work = verify.Verification(here.store, here.key, verify.Depth(decrypt=percent, seed=seed))
        return work.run(here.listed()).opened, seed

    assert tried(50, 1) == tried(50, 1)
    assert tried(0, 1)[0] == 0 < tried(50, 1)[0] < tried(100, 1)[0]
    assert 1 < len({tried(50, seed)[0] for seed in range(8)})


def test_a_store_that_is_away(tmp_path: Path) -> None:
    """A store that does not answer fails the verification, and is not taken for damage."""
    here, _ = two_snapshots(tmp_path)
    away = Faulty(here.store, Fault("get", frozenset({9}), Unavailable("asleep")))
    with pytest.raises(Unavailable, match="asleep"):
        here.verify(store=away)


def test_a_store_that_answers_wrong_bytes(tmp_path: Path) -> None:
    """Blocks are hashed here: a store that lets wrong bytes through is found out at any of them."""
    here, _ = two_snapshots(tmp_path)
    for call in range(1, 60, 7):
        report = here.verify(store=Faulty(here.store, Fault("get", frozenset({call}), flip=call * 5)))
        assert 1 <= report.damage_count


def test_pins_that_say_something_else(tmp_path: Path) -> None:
    """A snapshot pinned under another one's name, and a pin of what is no snapshot, are told."""
    here, (first, second) = two_snapshots(tmp_path)
    here.store.pin(first.root, second.header.pin_name)
    keyring = next(here.store.pins(f"pinfold/{here.key.repository}/keyring/"))
    here.store.pin(keyring.root, second.header.pin_name.replace("2026", "2027"))
    told = " ".join(why for _, why in here.verify().damage)
    assert f"{first.root} is pinned under another snapshot's name" in told
    assert f"malformed snapshot folder: {keyring.root} is no snapshot: it has no README.txt" in told


def test_a_damaged_keyring(tmp_path: Path) -> None:
    """A keyring that stands alone is checked with the rest."""
    here, _ = two_snapshots(tmp_path)
    pin = next(here.store.pins(f"pinfold/{here.key.repository}/keyring/"))
    del blocks_of(here.store.below)[pin.root.digest]  # type: ignore[attr-defined]
    assert {str(pin.root)} == {what for what, _ in here.verify(key=False).damage}


def test_another_repository_opens_nothing(tmp_path: Path) -> None:
    """With another repository's key the manifests do not open, which is damage and no crash."""
    here, _ = two_snapshots(tmp_path)
    work = verify.Verification(here.store, OwnerKey.new(here.clock.random), verify.Depth())
    report = work.run(here.listed())
    assert 2 == report.damage_count
    assert all("does not open with this repository's key" in why for _, why in report.damage)


def forge(here: Rig, was: Snapshot, change: Callable[[Header], Header], blocks: BlockSet | None = None) -> Snapshot:
    """A snapshot like `was` with a changed header, signed by the agent all the same, and pinned."""
    put: list[tuple[CID, bytes]] = []

    def emit(cid: CID, data: bytes) -> None:
        put.append((cid, data))

    files = {entry.name: entry for entry in list_folder(was.root, here.store.get)}
    folder = (blocks or _blocks(here, was)).build(emit)
    header = change(was.header)
    header = dataclasses.replace(header, blocks_root=str(folder.root))
    manifest = (was.manifest, files[b"manifest.age"].tsize or 0)
    forged = snapshot.build(header, here.agent, here.keyring, manifest, folder, emit)
    here.store.put(put)
    here.store.pin(forged.root, header.pin_name, replaces=was.root)
    return forged


def _blocks(here: Rig, was: Snapshot, leave_out: int = 0) -> BlockSet:
    blocks = BlockSet()
    for entry in list(list_folder(was.blocks, here.store.get))[leave_out:]:
        blocks.add(entry.cid.digest, entry.tsize or 0)
    return blocks


def test_a_set_of_blocks_that_lacks_some(tmp_path: Path) -> None:
    """An agent that leaves blocks out of the set it signs is found out: each block with a key, without by counts."""
    here, (_, second) = two_snapshots(tmp_path)
    every = [entry.cid for entry in list_folder(second.blocks, here.store.get)]
    for missing in range(1, len(every)):
        fewer = _blocks(here, second, missing)
        forged = forge(here, second, lambda header: header, fewer)
        assert 1 == here.verify(key=False).damage_count
        counted = fewer.build(lambda *_: None)
        signed = dataclasses.replace(second.header, blocks_count=counted.blocks, blocks_bytes=counted.total)
        forged = forge(here, forged, lambda _, signed=signed: signed, _blocks(here, second, missing))  # type: ignore[misc]
        assert 0 == here.verify(key=False).damage_count
        told = {what for what, why in here.verify().damage if "blocks/ does not list it: forged" in why}
        assert {str(cid) for cid in every[:missing]} == told
        here.store.pin(second.root, second.header.pin_name, replaces=forged.root)


def test_forged_public_parts(tmp_path: Path) -> None:
    """A header changed after it was signed, or signed by a stranger, or of another repository, is refused."""
    here, (_, second) = two_snapshots(tmp_path)
    other = rig(tmp_path / "other", seed=1)
    stranger = here.key.agent("stranger", Secret(bytes(32)))
    document = second.header.encode()

    def built(document: bytes, signature: bytes, keyring: Keyring, manifest: CID, blocks: CID) -> CID:
        put: list[tuple[CID, bytes]] = []
        root = snapshot._write_root(
            keyring,
            document,
            signature,
            (manifest, 1),
            (blocks, 1),
            lambda cid, data: put.append((cid, data)),
        )
        here.store.put(put)
        return root

    good = here.agent.signer.sign(b"pinfold/1 snapshot\n" + document)
    later = dataclasses.replace(second.header, finished="2027-01-01T00:00:00.000000Z")
    theirs = dataclasses.replace(second.header, agent=stranger.signer.public.hex())
    sound = (here.keyring, second.manifest, second.blocks)
    cases = {
        "signature of snapshot .* does not hold": (later.encode(), good, *sound),
        "agent that no keyring lists": (
            theirs.encode(),
            stranger.signer.sign(b"pinfold/1 snapshot\n" + theirs.encode()),
            *sound,
        ),
        "its keyring another": (document, good, other.keyring, second.manifest, second.blocks),
        "other blocks": (document, good, here.keyring, second.blocks, second.manifest),
        "keyring .* does not hold": (document, good, dataclasses.replace(here.keyring, sequence=9), *sound[1:]),
    }
    for words, parts in cases.items():
        root = built(*parts)
        with pytest.raises(KeyFailure, match=words):
            snapshot.load(root, here.store.get)
        here.store.pin(root, second.header.pin_name)
        report = verify.Verification(here.store, None, verify.Depth()).run(
            [one for one in here.listed() if one.root == root]
        )
        assert 1 == report.damage_count
        here.store.unpin([root])


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "half"},
        {"finished": "yesterday"},
        {"agent": "AB" * 32},
        {"repository": "xyz"},
        {"sequence": -1},
        {"blocks_count": -1},
        {"interval": -5},
        {"sequence": 1 << 63},
        {"source": 5},
    ],
)
def test_headers_that_make_no_sense(tmp_path: Path, change: dict[str, object]) -> None:
    """A header with a field out of bounds is Malformed, whoever signed it."""
    here, (_, second) = two_snapshots(tmp_path)
    wrong = dataclasses.replace(second.header, **change)  # type: ignore[arg-type]
    with pytest.raises(Malformed, match=r"snapshot\.json"):
        snapshot.Header.decode(wrong.encode())
    with pytest.raises(Malformed):
        snapshot.Header.decode(second.header.encode() + b" ")
    assert here.listed() == catalogue.listed(here.store, here.key.repository)


def spoil(store: Store, path: Path, cid: CID) -> None:
    """Damage a block in the cars of a store."""
    block = store.get(cid)
    for car in (path / "cars").iterdir():
        car.write_bytes(car.read_bytes().replace(block, block[:-1] + bytes([block[-1] ^ 1])))


def test_what_is_found_damaged_is_healed_by_the_next_backup(tmp_path: Path) -> None:
    """A block that verify found damaged is stored anew though its file did not change, and old snapshots are whole."""
    with FolderStore.create(tmp_path / "store") as store:
        here = rig(tmp_path / "cache", store)
        root = write(tmp_path / "tree", {f"{n}": noise(n, 100_000) for n in range(20)})
        first = made(here.backup(root))
        cid = next(one for one, _, size in list_folder(first.blocks, store.get) if (size or 0) > 50_000)
        spoil(store, tmp_path / "store", cid)
        assert 0 == here.verify(read=False, decrypt=0).damage_count
        assert [str(cid)] == [what for what, _ in here.verify(key=False).damage]
        assert [(str(cid), True)] == [
            (what, why.startswith("is damaged")) for what, why in here.verify(key=False, read=False, decrypt=0).damage
        ]
        write(root, {"new": noise(99, 1000)})
        made(here.backup(root))
        report = here.verify()
        assert (2, 0) == (report.snapshots, report.damage_count)
        assert [] == list(store.check())


def test_damage_in_one_mirror_is_healed_from_the_other(tmp_path: Path) -> None:
    """What one copy lost and the other spoiled is no damage: verify heals both and notes it."""
    with FolderStore.create(tmp_path / "store") as bad:
        lacking = MemoryStore("lacking")
        mirror = Mirror([lacking, bad])
        here = rig(tmp_path / "cache", mirror)
        root = write(tmp_path / "tree", {f"{n}": noise(n, 100_000) for n in range(20)})
        first = made(here.backup(root))
        one, other, *_ = (cid for cid, _, size in list_folder(first.blocks, bad.get) if (size or 0) > 50_000)
        spoil(bad, tmp_path / "store", one)
        del blocks_of(lacking)[other.digest]
        present = here.verify(key=False, read=False, decrypt=0)
        assert (0, ["lacking lacks 1 block that another copy holds"]) == (present.damage_count, present.notes)
        read = here.verify(key=False)
        assert 0 == read.damage_count
        assert {f"healed 1 block in {name} from another copy" for name in ("lacking", bad.name)} == set(read.notes)
        again = here.verify(key=False)
        assert (0, []) == (again.damage_count, again.notes)
        assert {one, other} == bad.has([one, other]) & lacking.has([one, other])
        spoil(bad, tmp_path / "store", one)
        del blocks_of(lacking)[one.digest]
        assert [str(one)] == [what for what, _ in here.verify(key=False).damage]


def test_a_mirror_that_cannot_be_opened_is_set_aside(tmp_path: Path) -> None:
    """It is told and not made, whichever of them it is; only when none opens it is an error."""
    FolderStore.create(tmp_path / "there").close()
    there, gone = str(tmp_path / "there"), str(tmp_path / "gone")
    base = Settings(cache=tmp_path, config_dir=tmp_path)
    for first, second in ((there, gone), (gone, there)):
        with wiring.store(dataclasses.replace(base, repository=first, mirrors=(second,))) as store:
            assert isinstance(store, Mirror)
            assert [] == list(store.pins())
            assert [True] == [gone in warning for warning in store.warnings]
    assert not (tmp_path / "gone").exists()
    with (
        pytest.raises(UsageError, match="gone is no folder"),
        wiring.store(dataclasses.replace(base, repository=gone, mirrors=(f"{gone}-too",))),
    ):
        pass
