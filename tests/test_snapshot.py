"""Snapshots: what was built loads, and a folder that was put together by somebody else is refused."""

import dataclasses
from collections.abc import Callable
from random import Random

import pytest

from documents import HEADER, MANIFEST, SOME
from pinfold import snapshot
from pinfold.blockset import BlockSet, BlocksFolder
from pinfold.errors import Corrupt, KeyFailure, Malformed, Missing, PinfoldError
from pinfold.ipld import CID, add_file, build_folder, list_folder
from pinfold.ipld.cid import DAG_PB, RAW
from pinfold.seal.keyring import Agent, Keyring, next_keyring
from pinfold.seal.keys import AgentKey
from pinfold.seal.secret import Secret
from pinfold.snapshot import Manifest, Snapshot
from pinfold.store.memory import MemoryStore
from seal.made import keyring_of, owner

OWNER = owner()
AGENT = OWNER.agent("alpha", Secret(b"s" * 32))
OTHER = OWNER.agent("beta", Secret(b"t" * 32))
KEYRING = keyring_of(OWNER, [AGENT])


class Shelf(MemoryStore):
    """A store, and snapshots made on it."""

    def emit(self, cid: CID, block: bytes) -> None:
        """Keep a block."""
        self.put([(cid, block)])

    def blocks(self, *contents: bytes) -> BlocksFolder:
        """Keep raw blocks and the folder of them."""
        listed = BlockSet()
        for block in contents:
            self.emit(CID.of(RAW, block), block)
            listed.add(CID.of(RAW, block).digest, len(block))
        return listed.build(self.emit)

    def make(self, agent: AgentKey = AGENT, keyring: Keyring = KEYRING, **change: object) -> Snapshot:
        """Keep a snapshot whose header was changed before it was signed."""
        manifest, blocks = snapshot.seal_manifest(MANIFEST, agent, self.emit), self.blocks(b"one", b"two")
        told = {"manifest": str(manifest[0]), "blocks_root": str(blocks.root), "agent": agent.signer.public.hex()}
        told["repository"] = agent.repository
        header = dataclasses.replace(HEADER, **(told | change))  # type: ignore[arg-type]  # tests name the fields
        return snapshot.build(header, agent, keyring, manifest, blocks, self.emit)

    def patched(self, root: CID, **files: bytes | CID | None) -> CID:
        """Return a folder with some files of another put in place, or taken out."""
        entries = {entry.name: (entry.name, entry.cid, entry.tsize or 0) for entry in list_folder(root, self.get)}
        for name, content in files.items():
            key = name.replace("_", ".").encode()
            cid = add_file([content], self.emit).cid if isinstance(content, bytes) else content
            entries.pop(key, None)
            if cid is not None:
                entries[key] = (key, cid, 1)
        return build_folder(entries.values(), self.emit)[0]

    def file(self, root: CID, name: str) -> bytes:
        """Return a small file of a folder."""
        found = {entry.name: entry.cid for entry in list_folder(root, self.get)}
        return snapshot.read_small(found[name.encode()], self.get, 1 << 20, name)


def test_a_snapshot_comes_back() -> None:
    """What was built loads as it was, its id is the header's CID, and the owner reads its manifest."""
    shelf = Shelf()
    made = shelf.make()
    again = snapshot.load(made.root, shelf.get)
    assert made == again
    assert (CID.of(RAW, made.header.encode()), MANIFEST) == (again.id, again.open(OWNER, shelf.get))
    assert f"pinfold/{OWNER.repository}/{'0' * 16}/full/2026-11-21T01:02:09.999999Z" == again.header.pin_name
    assert snapshot.README == shelf.file(made.root, "README.txt")


def test_nothing_private_is_public() -> None:
    """No name, path or host of the manifest is in any block of a snapshot."""
    shelf = Shelf()
    shelf.make()
    assert not [
        word
        for word in (b"home", b"alpha/", b"unreadable", b"gold")
        for block in shelf._blocks.values()
        if word in block
    ]


def test_rerooted_it_stays_itself() -> None:
    """Under a newer keyring a snapshot has another root, and the same id, header, manifest and blocks."""
    shelf = Shelf()
    made = shelf.make()
    newer = next_keyring(KEYRING, OWNER, agents=[*KEYRING.agents, Agent("beta", OTHER.signer.public)])
    moved = snapshot.reroot(made, newer, shelf.get, shelf.emit)
    assert (made.id, made.header, made.manifest, made.blocks) == (moved.id, moved.header, moved.manifest, moved.blocks)
    assert (moved, newer) == (snapshot.load(moved.root, shelf.get), snapshot.load_keyring(moved.root, shelf.get))
    assert made.root != moved.root


def test_a_keyring_stands_alone() -> None:
    """A keyring's own folder loads to the same keyring; other folders are none."""
    shelf = Shelf()
    assert KEYRING == snapshot.load_keyring(snapshot.write_keyring(KEYRING, shelf.emit), shelf.get)
    with pytest.raises(Malformed, match="holds no keyring"):
        snapshot.load_keyring(shelf.blocks(b"x").root, shelf.get)


def forged_agent(shelf: Shelf) -> CID:
    """Signed by an agent that the keyring does not list."""
    return shelf.make(OTHER).root


def forged_name(shelf: Shelf) -> CID:
    """Signed by one agent in the name of another."""
    made = shelf.make()
    message = snapshot._signed(made.header.encode())
    return shelf.patched(made.root, snapshot_sig=OTHER.signer.sign(message))


def removed_agent(shelf: Shelf) -> CID:
    """Signed by an agent after it was removed."""
    gone = dataclasses.replace(KEYRING.agents[0], until="2026-11-21T01:02:09.999998Z")
    return shelf.make(keyring=next_keyring(KEYRING, OWNER, agents=[gone])).root


def another_repository(shelf: Shelf) -> CID:
    """A header that tells another repository than its keyring."""
    return shelf.make(repository="f" * 16).root


def strangers_keyring(shelf: Shelf) -> CID:
    """A stranger's keyring put over the snapshot."""
    other = keyring_of(owner(2), [AGENT])
    return shelf.patched(shelf.make().root, keyring_json=other.encode(), repository_json=other.repository.encode())


def mixed_keyring(shelf: Shelf) -> CID:
    """A stranger's keyring under the repository's own public document."""
    return shelf.patched(shelf.make().root, keyring_json=keyring_of(owner(2), [AGENT]).encode())


def other_header(shelf: Shelf) -> CID:
    """The header of another snapshot of the same agent, under the wrong signature."""
    return shelf.patched(shelf.make().root, snapshot_json=shelf.make(sequence=4).header.encode())


def other_signature(shelf: Shelf) -> CID:
    """The signature of another snapshot."""
    root = shelf.make().root
    return shelf.patched(root, snapshot_sig=shelf.file(shelf.make(sequence=4).root, "snapshot.sig"))


def no_signature(shelf: Shelf) -> CID:
    """An empty signature."""
    return shelf.patched(shelf.make().root, snapshot_sig=b"")


def other_blocks(shelf: Shelf) -> CID:
    """Fewer blocks than were signed."""
    return shelf.patched(shelf.make().root, blocks=shelf.blocks(b"one").root)


def other_manifest(shelf: Shelf) -> CID:
    """A manifest that was not signed, though the agent might have sealed it."""
    return shelf.patched(shelf.make().root, manifest_age=AGENT.seal_age(MANIFEST.encode()))


def bare_signature(shelf: Shelf) -> CID:
    """The agent's signature over the header without the words that say it is for a snapshot."""
    made = shelf.make()
    return shelf.patched(made.root, snapshot_sig=AGENT.signer.sign(made.header.encode()))


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (forged_agent, "signed by an agent that no keyring lists"),
        (forged_name, "the signature of snapshot"),
        (removed_agent, "which was removed before that"),
        (another_repository, "its keyring another"),
        (strangers_keyring, "its keyring another"),
        (mixed_keyring, "not the keyring of repository"),
        (other_header, "the signature of snapshot"),
        (other_signature, "the signature of snapshot"),
        (no_signature, "the signature of snapshot"),
        (bare_signature, "the signature of snapshot"),
        (other_blocks, "other blocks or another manifest"),
        (other_manifest, "other blocks or another manifest"),
    ],
)
def test_forgeries(forge: Callable[[Shelf], CID], reason: str) -> None:
    """Parts that do not belong together are refused for that reason, with the exit code of keys."""
    shelf = Shelf()
    with pytest.raises(KeyFailure, match=reason) as caught:
        snapshot.load(forge(shelf), shelf.get)
    assert 5 == caught.value.exit_code


@pytest.mark.parametrize(
    "name", ["README_txt", "repository_json", "keyring_json", "snapshot_json", "snapshot_sig", "manifest_age", "blocks"]
)
def test_a_part_is_missing(name: str) -> None:
    """A folder without one of the parts is no snapshot, and is told which."""
    shelf = Shelf()
    root = shelf.patched(shelf.make().root, **{name: None})
    with pytest.raises(Malformed, match=f"it has no {name.replace('_', '.')}"):
        snapshot.load(root, shelf.get)


def test_hostile_folders() -> None:
    """Folders of too many files, files that are too long, and what is no folder, cost little and are refused."""
    shelf = Shelf()
    root = shelf.make().root
    many = shelf.patched(root, **{f"x{number}": b"" for number in range(100)})
    long = shelf.patched(root, snapshot_json=bytes(snapshot.MAX_JSON + 1))
    ring = shelf.patched(root, snapshot_json=root)
    shelf.emit(SOME, b"some")
    for wrong, reason in ((many, "holds more than a"), (long, "is longer than"), (ring, "file"), (SOME, "folder")):
        with pytest.raises(Malformed, match=reason):
            snapshot.load(wrong, shelf.get)
    with pytest.raises(Missing):
        snapshot.load(CID.of(DAG_PB, b"elsewhere"), shelf.get)


def test_damage_anywhere() -> None:
    """One changed byte in any file but the README is refused, even by a store that checks no hashes."""
    shelf = Shelf()
    root = shelf.make().root
    files = [entry for entry in list_folder(root, shelf.get) if entry.name not in {b"blocks", b"README.txt"}]
    random = Random(6)
    for one in files:
        whole = shelf.get(one.cid)
        for _ in range(60):
            at = random.randrange(len(whole))
            changed = whole[:at] + bytes([whole[at] ^ (1 << random.randrange(8))]) + whole[at + 1 :]
            with pytest.raises(PinfoldError):
                read_all(root, Lying(shelf, one.cid, changed))


class Lying:
    """A store's `get` that gives other bytes for one block, and does not look at hashes."""

    def __init__(self, shelf: Shelf, cid: CID, block: bytes) -> None:
        """`cid`: the block it lies about."""
        self._shelf, self._cid, self._block = shelf, cid, block

    def __call__(self, cid: CID) -> bytes:
        """A block, or the lie."""
        return self._block if cid == self._cid else self._shelf.get(cid)


def read_all(root: CID, get: Callable[[CID], bytes]) -> Manifest:
    """Read a snapshot down to its manifest."""
    return snapshot.load(root, get).open(OWNER, get)


def test_only_the_owner_reads_the_manifest() -> None:
    """Another owner, though he has the snapshot, does not open it."""
    shelf = Shelf()
    made = shelf.make()
    with pytest.raises(Corrupt, match="does not open with this repository's key"):
        made.open(owner(2), shelf.get)
