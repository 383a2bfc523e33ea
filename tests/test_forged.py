"""Snapshots that lie: made by an agent with good keys and bad intent.  Nothing outside the target is ever touched."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from engine import Rig, listing, made, noise, rig, write
from pinfold import snapshot
from pinfold.blockset import BlockSet
from pinfold.errors import Malformed
from pinfold.ipld import dagcbor
from pinfold.reading import Reader
from pinfold.restore import Choice
from pinfold.seal.refs import Ref, Tree
from pinfold.sources.directory import index
from pinfold.sources.directory.entry import Chunks, Entry, Page, Part, Slice
from pinfold.sources.directory.target import Overwrite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pinfold.ipld import CID
    from pinfold.snapshot import Snapshot

ROOT = Entry(b".", 0o040755, 0, 0, 0, 10**18, 0, 0)


def file(name: bytes, size: int, content: Slice | Chunks | Tree | None, **more: Any) -> Entry:  # noqa: ANN401
    """A regular file."""
    return Entry(name, 0o100644, 0, 0, size, 10**18, 0, 0, content, **more)


class Forger:
    """Seals whatever is wanted, and signs a snapshot of it."""

    def __init__(self, path: Path) -> None:
        self.here: Rig = rig(path / "cache")
        self.blocks = BlockSet()
        self.sealer = self.here.agent.sealer()

    def seal(self, plain: bytes) -> Ref:
        """A chunk, stored and listed."""
        sealed = self.sealer.seal(plain, self.sealer.name(plain)[1])
        self.here.store.put([(sealed.ref.cid, sealed.block)])
        self.blocks.add(sealed.ref.digest, sealed.ref.size)
        return sealed.ref

    def nodes(self, tree: Tree) -> Tree:
        """A tree six levels deep, each node listing the one below it 20,000 times."""
        while tree.depth < 6:
            tree = Tree(self.seal(tree.root.packed * 20_000), tree.depth + 1)
        return tree

    def page(self, *parts: Part | dict[str, object]) -> Ref:
        """A page; of parts that the encoder would not write as they stand."""
        data = dagcbor.decode(index.encode(Page([part for part in parts if isinstance(part, Part)])), "page")
        assert isinstance(data, dict)
        for part in parts:
            if isinstance(part, dict):
                document = dagcbor.decode(index.encode(Page([Part(b"", [file(b"x", 0, None)])])), "page")
                assert isinstance(document, dict)
                data["parts"].append(document["parts"][0] | part)
        return self.seal(dagcbor.encode(data))

    def sign(self, tree: Tree, **more: object) -> Snapshot:
        """A snapshot with this index."""
        here, put = self.here, []

        def emit(cid: CID, data: bytes) -> None:
            put.append((cid, data))

        real = made(here.backup(write(here.cache._path.parent.parent / "real", {"a": b""}), "real"))
        manifest = replace(real.open(here.key, here.store.get), index=tree, **more)  # type: ignore[arg-type]
        sealed = snapshot.seal_manifest(manifest, here.agent, emit)
        folder = self.blocks.build(emit)
        header = replace(
            real.header,
            manifest=str(sealed[0]),
            blocks_root=str(folder.root),
            blocks_count=folder.blocks,
            blocks_bytes=folder.total,
        )
        forged = snapshot.build(header, here.agent, here.keyring, sealed, folder, emit)
        here.store.put(put)
        here.store.pin(forged.root, header.pin_name, replaces=real.root)
        return forged


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    """Somebody with an agent's key."""
    return Forger(tmp_path)


def unharmed(forger: Forger, forged: Snapshot, path: Path, *, delete: bool = False) -> tuple[set[bytes], str]:
    """Restore beside things that must not change; what came, and all that was told."""
    write(path / "outside", {"precious": b"mine"})
    back = path / "outside/back"
    write(back, {"kept": b"mine"})
    before = listing(path / "outside")[b"precious"]
    result = forger.here.restore(forged, back, choice=Choice(delete=delete), overwrite=Overwrite.ALWAYS)
    after = listing(path / "outside")
    assert before == after[b"precious"]
    assert {b"back", b"precious"} == {name for name in after if name and b"/" not in name}
    told = " ".join(what for _, what in result.problems + result.damaged)
    return set(listing(back)) - {b"", b"kept"}, told


@pytest.mark.parametrize(
    "part",
    [
        {"folder": b".."},
        {"folder": b"../outside"},
        {"folder": b"a/../.."},
        {"folder": b"/tmp"},
        {"names": [b"../precious"]},
        {"names": [b".."]},
        {"names": [b"a/b"]},
        {"links": [[0, b"../precious"]]},
        {"sizes": [-5]},
        {"bundles": [7]},
    ],
)
def test_pages_with_names_that_lead_out(forger: Forger, tmp_path: Path, part: dict[str, object]) -> None:
    """A page with a path that leaves the target is refused whole; other pages come."""
    good = forger.page(Part(None, [ROOT]), Part(b"", [file(b"good", 4, Slice(forger.seal(b"good"), 0))]))
    bad = forger.page(part)
    root = Tree(forger.seal(good.packed + bad.packed), 1)
    came, told = unharmed(forger, forger.sign(root), tmp_path)
    assert {b"good"} == came
    assert "malformed index page" in told


def test_a_link_and_then_through_it(forger: Forger, tmp_path: Path) -> None:
    """A symlink that is a folder in the next breath is not followed."""
    evil = forger.seal(b"evil")
    link = Entry(b"way", 0o120777, 0, 0, 0, 0, 0, 0, target=b"..")
    page = forger.page(
        Part(None, [ROOT]),
        Part(b"", [link]),
        Part(b"way", [file(b"precious", 4, Slice(evil, 0)), file(b"x", 4, Slice(evil, 0))]),
    )
    came, told = unharmed(forger, forger.sign(Tree(page, 0)), tmp_path)
    assert {b"way"} == came
    assert "is no folder, and what is in its place is not followed" in told


def test_a_hard_link_to_what_was_there(forger: Forger, tmp_path: Path) -> None:
    """A hard link to a symlink that leads out does not bring in what it points to."""
    link = Entry(b"a", 0o120777, 0, 0, 0, 10**18, 0, 0, target=b"../precious")
    page = forger.page(Part(b"", [link, file(b"b", 4, Slice(forger.seal(b"evil"), 0), link=b"a")]))
    unharmed(forger, forger.sign(Tree(page, 0)), tmp_path)
    assert b"evil" == (tmp_path / "outside/back/b").read_bytes()
    assert b"mine" == (tmp_path / "outside/precious").read_bytes()


CONTENTS: dict[str, Callable[[Forger], Entry]] = {
    "more than said": lambda forger: file(b"f", 3, Chunks((forger.seal(b"longer"),))),
    "less than said": lambda forger: file(b"f", 1 << 50, Chunks((forger.seal(b"short"),))),
    "beyond its bundle": lambda forger: file(b"f", 4, Slice(forger.seal(b"bundle"), 4)),
    "far beyond its bundle": lambda forger: file(b"f", 4, Slice(forger.seal(b"bundle"), 1 << 40)),
    "longer than any bundle": lambda forger: file(b"f", 1 << 60, Slice(forger.seal(b"bundle"), 0)),
    "nothing at all": lambda _: file(b"f", 5, None),
    "a hole larger than any": lambda _: file(b"f", (1 << 63) - 1, None, extents=()),
    "a tree of one level too many": lambda forger: file(b"f", 9, Tree(forger.seal(forger.seal(b"x").packed), 2)),
    "a tree of one level too few": lambda forger: file(b"f", 9, Tree(forger.seal(b"no refs at all"), 1)),
    "a tree that goes on": lambda forger: file(b"f", 5000, forger.nodes(Tree(forger.seal(b"x"), 0))),
    "a tree of nothing": lambda forger: file(b"f", 5000, forger.nodes(Tree(forger.seal(b""), 1))),
    "a ref that says more": lambda forger: file(b"f", 9, Chunks((lie(forger.seal(b"x" * 5), 9),))),
    "a ref that says less": lambda forger: file(b"f", 3, Chunks((lie(forger.seal(b"x" * 5000), 3),))),
    "another chunk's key": lambda forger: file(
        b"f", 1, Chunks((Ref.of(forger.seal(b"a").digest, forger.seal(b"b").key, 1, 50),))
    ),
}


def lie(ref: Ref, length: int) -> Ref:
    """The ref, of another length."""
    return Ref.of(ref.digest, ref.key, length, ref.size)


@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize("kind", CONTENTS)
def test_files_that_are_not_what_they_say(forger: Forger, tmp_path: Path, kind: str, delete: bool) -> None:
    """A file whose content contradicts the index is left out and told, soon; its neighbours come."""
    lying = CONTENTS[kind](forger)
    small = Slice(forger.seal(b"good"), 0)
    page = forger.page(Part(None, [ROOT]), Part(b"", [file(b"a", 4, small), lying, file(b"z", 4, small)]))
    forged = forger.sign(Tree(page, 0))
    came, told = unharmed(forger, forged, tmp_path, delete=delete)
    assert {b"a", b"z"} == came
    assert told
    forger.here.verify()


def test_an_index_that_goes_on_for_ever(forger: Forger, tmp_path: Path) -> None:
    """An index of a few blocks that lists itself over and over ends at the first page that comes twice."""
    page = forger.page(Part(None, [ROOT]), Part(b"", [file(b"good", 4, Slice(forger.seal(b"good"), 0))]))
    forged = forger.sign(forger.nodes(Tree(page, 0)))
    came, told = unharmed(forger, forged, tmp_path, delete=True)
    assert {b"good"} == came
    assert "comes twice: forged" in told
    assert (tmp_path / "outside/back/kept").exists()
    assert 1 <= forger.here.verify().damage_count
    reader = Reader(forger.here.store, forger.here.key.opener(0))
    manifest = forged.open(forger.here.key, forger.here.store.get)
    with pytest.raises(Malformed, match="comes twice"):
        list(reader.pages(manifest.index))
    with pytest.raises(Malformed, match="comes twice"):
        list(reader.raw_pages(manifest.index))
    reader.close()


@pytest.mark.parametrize("kind", ["empty nodes", "nonsense", "too deep"])
def test_an_index_that_is_none(forger: Forger, tmp_path: Path, kind: str) -> None:
    """An index of empty nodes, of no refs, or of pages that are nodes, restores nothing and says so."""
    trees = {
        "empty nodes": lambda: forger.nodes(Tree(forger.seal(b""), 1)),
        "nonsense": lambda: Tree(forger.seal(noise(1, 1000)), 1),
        "too deep": lambda: Tree(forger.seal(forger.page(Part(None, [ROOT])).packed), 2),
    }
    came, told = unharmed(forger, forger.sign(trees[kind]()), tmp_path, delete=True)
    assert set() == came
    assert "part of the index is lost" in told
    assert (tmp_path / "outside/back/kept").exists()


def test_names_that_come_twice(forger: Forger, tmp_path: Path) -> None:
    """A name in two pages, as a file, a folder, and a link, does no harm: one of them is there in the end."""
    evil = Slice(forger.seal(b"evil"), 0)
    pages = [
        forger.page(Part(None, [ROOT]), Part(b"", [file(b"x", 4, evil)])),
        forger.page(Part(b"", [Entry(b"x", 0o120777, 0, 0, 0, 0, 0, 0, target=b"../precious")])),
        forger.page(Part(b"", [Entry(b"x", 0o040700, 0, 0, 0, 0, 0, 0)]), Part(b"x", [file(b"precious", 4, evil)])),
    ]
    root = Tree(forger.seal(b"".join(page.packed for page in pages)), 1)
    came, _ = unharmed(forger, forger.sign(root), tmp_path)
    assert came <= {b"x", b"x/precious"}


def test_a_parent_that_lies(forger: Forger, tmp_path: Path) -> None:
    """A last index that makes no sense does not stop the next backup, which reads the files instead."""
    page = forger.page({"folder": b".."})
    forger.sign(Tree(page, 0), source="real")
    here = forger.here
    os.utime(tmp_path / "real/a", ns=(5, 5))
    here.cache.forget(here.agent.source_id("real"))
    here.restore(made(here.backup(tmp_path / "real", "real")), tmp_path / "back")
    assert listing(tmp_path / "real") == listing(tmp_path / "back")
