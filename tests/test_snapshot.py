"""Snapshots: header and manifest come back, and a folder that was put together by somebody else is refused."""

import dataclasses
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold import snapshot
from pinfold.blockset import BlocksFolder, BlockSet
from pinfold.errors import Corrupt, KeyFailure, Malformed, Missing, PinfoldError
from pinfold.ipld import CID, add_file, build_folder, dagcbor, list_folder
from pinfold.ipld.cid import DAG_PB, RAW
from pinfold.seal import canonical
from pinfold.seal.keyring import Agent, Keyring, next_keyring
from pinfold.seal.keys import AgentKey
from pinfold.seal.refs import MAX_DEPTH, Ref, Tree
from pinfold.seal.secret import Secret
from pinfold.snapshot import Header, Manifest, Snapshot
from pinfold.store.memory import MemoryStore
from seal.made import keyring_of, owner

OWNER = owner()
AGENT = OWNER.agent("alpha", Secret(b"s" * 32))
OTHER = OWNER.agent("beta", Secret(b"t" * 32))
KEYRING = keyring_of(OWNER, [AGENT])
SOME = CID.of(RAW, b"some")
HEADER = Header(
    repository=OWNER.repository,
    source="0" * 16,
    agent=AGENT.signer.public.hex(),
    kind="full",
    base=None,
    previous=str(SOME),
    sequence=3,
    started="2026-11-21T01:02:03.000004Z",
    finished="2026-11-21T01:02:09.999999Z",
    generation=0,
    manifest=str(SOME),
    blocks_root=str(SOME),
    blocks_count=2,
    blocks_bytes=70,
    new_blocks=1,
    new_bytes=40,
    interval=None,
)
MANIFEST = Manifest(
    source="home",
    type="directory",
    host="alpha",
    versions={"pinfold": "1"},
    options={"path": b"/home", "deep": [{"x": None}]},
    streams=[{"name": "s", "size": 3}],
    index=Tree(Ref(b"r" * 64 + bytes(8)), 2),
    counts={"files": 3},
    errors=[["a/b", "unreadable"]],
    sparse=[b"d" * 32, b"e" * 32],
    secret=AGENT.secret_id(),
    tags=["gold"],
)


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
    return shelf.make(OTHER, agent=AGENT.signer.public.hex()).root


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


def keyring_as_snapshot(shelf: Shelf) -> CID:
    """The agent's signature over something that is no snapshot."""
    header = shelf.make().header
    return shelf.patched(shelf.make().root, snapshot_sig=AGENT.signer.sign(header.encode()))


@pytest.mark.parametrize(
    "forge",
    [
        forged_agent,
        forged_name,
        removed_agent,
        another_repository,
        strangers_keyring,
        mixed_keyring,
        other_header,
        other_signature,
        no_signature,
        other_blocks,
        other_manifest,
        keyring_as_snapshot,
    ],
)
def test_forgeries(forge: Callable[[Shelf], CID]) -> None:
    """Parts that do not belong together are refused, with the exit code of keys."""
    shelf = Shelf()
    with pytest.raises(KeyFailure) as caught:
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
    for wrong, reason in ((many, "more than a snapshot does"), (long, "longer than"), (ring, ""), (SOME, "")):
        shelf.emit(SOME, b"some")
        with pytest.raises(Malformed, match=reason):
            snapshot.load(wrong, shelf.get)
    with pytest.raises(Missing):
        snapshot.load(CID.of(DAG_PB, b"elsewhere"), shelf.get)


def test_damage_anywhere() -> None:
    """One changed byte in any block of the public part is refused, whatever the store says of hashes."""
    made = Shelf()
    root = made.make().root
    public = [
        made.get(root),
        *(made.get(entry.cid) for entry in list_folder(root, made.get) if entry.name != b"blocks"),
    ]
    random = Random(6)
    for block in public:
        for _ in range(40):
            at = random.randrange(len(block))
            shelf = Shelf()
            shelf._blocks = dict(made._blocks)
            shelf._blocks[CID.of(RAW, block).digest] = block[:at] + bytes([block[at] ^ 1]) + block[at + 1 :]
            try:
                found = snapshot.load(root, shelf._believing)
                found.open(OWNER, shelf._believing)
            except PinfoldError:
                continue
            assert made.file(root, "README.txt") == block


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "half"},
        {"started": "2026-11-21T01:02:03Z"},
        {"finished": "2026-13-21T01:02:03.000004Z"},
        {"finished": "../../../../../../../../etc"},
        {"finished": "2026-11-21T01:02:03.000004+"},
        {"finished": "2026-11-21 01:02:03.000004Z"},
        {"finished": "2026-11-21T24:00:00.000000Z"},
        {"repository": "0" * 15},
        {"source": "../" * 5 + "x"},
        {"agent": "A" * 64},
        {"sequence": -1},
        {"sequence": 1 << 63},
        {"sequence": True},
        {"generation": 1.0},
        {"previous": "not a CID"},
        {"previous": str(SOME).upper()},
        {"base": 1},
        {"base": "\x1b[2J"},
        {"interval": -1},
        {"interval": "x"},
        {"blocks": None},
        {"blocks": {"root": "", "count": -1, "bytes": 0}},
        {"stored": {}},
        {"stored": {"new_blocks": 1, "new_bytes": 40, "more": 1}},
        {"format": "pinfold/2"},
        {"more": 1},
    ],
)
def test_malformed_headers(change: dict[str, object]) -> None:
    """A header with anything missing, foreign or out of bounds is refused."""
    with pytest.raises(Malformed):
        Header.decode(canonical.encode(canonical.decode(HEADER.encode(), "x") | change))


headers = st.builds(
    dataclasses.replace,
    st.just(HEADER),
    kind=st.sampled_from(snapshot.KINDS),
    base=st.none() | st.binary().map(lambda data: str(CID.of(RAW, data))),
    previous=st.none() | st.binary().map(lambda data: str(CID.of(DAG_PB, data))),
    sequence=st.integers(0, (1 << 63) - 1),
    interval=st.none() | st.integers(0, (1 << 63) - 1),
    manifest=st.text(max_size=80),
    new_bytes=st.integers(0, (1 << 63) - 1),
)


@given(headers, st.integers(0, 2000), st.binary(max_size=3), st.integers(0, 3))
def test_headers_come_back_or_are_refused(header: Header, at: int, put: bytes, cut: int) -> None:
    """Every header comes back; with bytes changed it is refused, or is another header to the last byte."""
    data = header.encode()
    assert header == Header.decode(data)
    changed = data[:at] + put + data[at + cut :]
    try:
        assert changed == Header.decode(changed).encode()
    except Malformed as error:
        assert str(error)  # noqa: PT017  # either is right


texts = st.text(max_size=10)
manifests = st.builds(
    Manifest,
    source=texts,
    type=texts,
    host=texts,
    versions=st.dictionaries(texts, texts, max_size=3),
    options=st.dictionaries(texts, st.none() | st.booleans() | st.binary(max_size=5) | texts, max_size=3),
    streams=st.lists(st.dictionaries(texts, st.integers(0, 1 << 60), max_size=2), max_size=2),
    index=st.none()
    | st.builds(
        Tree, st.binary(min_size=64, max_size=64).map(lambda one: Ref(one + bytes(8))), st.integers(0, MAX_DEPTH)
    ),
    counts=st.dictionaries(texts, st.integers(0, 1 << 60), max_size=3),
    errors=st.lists(st.tuples(texts, texts).map(list), max_size=2),
    sparse=st.lists(st.binary(min_size=32, max_size=32), max_size=2),
    secret=texts,
    tags=st.lists(texts, max_size=2),
)


@given(manifests, st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3))
def test_manifests_come_back_or_are_refused(manifest: Manifest, at: int, put: bytes, cut: int) -> None:
    """Every manifest comes back; with bytes changed it is refused, or is a manifest that comes back."""
    data = manifest.encode()
    assert manifest == Manifest.decode(data)
    try:
        found = Manifest.decode(data[:at] + put + data[at + cut :])
    except Malformed:
        return
    assert found == Manifest.decode(found.encode())


@pytest.mark.parametrize(
    "change",
    [
        {"tags": [1]},
        {"sparse": b"d" * 33},
        {"index": [b"", 1]},
        {"index": [b"r" * 64 + bytes(8), MAX_DEPTH + 1]},
        {"index": [b"r" * 64 + bytes(8), -1]},
        {"index": b"r" * 72},
        {"counts": {"files": "3"}},
        {"counts": {"files": True}},
        {"versions": {"pinfold": 1}},
        {"streams": [1]},
        {"errors": ["ab"]},
        {"errors": [["a"]]},
        {"errors": [["a", 1]]},
        {"options": []},
        {"host": b"x"},
        {"secret": None},
    ],
)
def test_malformed_manifests(change: dict[str, object]) -> None:
    """A manifest with anything of another type or out of bounds is refused."""
    document = dagcbor.decode(MANIFEST.encode(), "x")
    assert isinstance(document, dict)
    with pytest.raises(Malformed, match="manifest|ref"):
        Manifest.decode(dagcbor.encode(document | change))


@pytest.mark.parametrize("data", [b"", b"\xf6", b"\x80", b"\xa0", b"\x81" * 100_000, b"\xff", b"\x9b" + b"\xff" * 8])
def test_what_is_no_manifest(data: bytes) -> None:
    """Bytes of any other kind are refused, however deep they go."""
    with pytest.raises(Malformed):
        Manifest.decode(data)


def test_only_the_owner_reads_the_manifest() -> None:
    """Another owner, though he has the snapshot, does not open it."""
    shelf = Shelf()
    made = shelf.make()
    with pytest.raises(Corrupt, match="does not open with this repository's key"):
        made.open(owner(2), shelf.get)
