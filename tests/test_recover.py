"""The escape hatch: tools/recover.py restores what the engine backed up, from CAR files alone and without pinfold."""

import copy
import importlib.util
import itertools
import os
import random
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pinfold import backup, rekey, snapshot
from pinfold.cache import Cache
from pinfold.clock import SystemClock
from pinfold.ipld import CID, car
from pinfold.reading import Reader
from pinfold.seal import slots
from pinfold.seal.keyring import Agent, Keyring, first_keyring
from pinfold.seal.keys import AgentKey, OwnerKey
from pinfold.seal.refs import Tree
from pinfold.seal.secret import Secret
from pinfold.sources.directory.entry import Chunks, Entry, Slice
from pinfold.sources.directory.excludes import Rules
from pinfold.sources.directory.source import Directory, Settings
from pinfold.store.folder import FolderStore
from pinfold.transfer import export

RECOVER = Path(__file__).resolve().parent.parent / "tools" / "recover.py"
LONGEST = 300
PASSPHRASE = b"correct horse"
CHEAP = slots.Stretch(iterations=1, memory=64, lanes=1)
PBKDF2 = slots.Stretch("pbkdf2-sha256", 10_000)
WHEN = 1_600_000_000_123_456_789
LARGE = 64 << 20  # at least 67 chunks, so that there is a tree of refs


class Made(NamedTuple):
    """A repository with one snapshot, and how it opens."""

    folder: Path
    root: CID
    key: list[str]

    @property
    def cars(self) -> list[str]:
        """The store's CAR files."""
        return [str(path) for path in sorted((self.folder / "cars").iterdir())]


def make_tree(root: Path) -> None:
    """Make some of everything that a directory can hold."""
    noise = random.Random(7)
    names = os.fsencode(root)
    (root / "empty folder").mkdir(parents=True)
    (root / "deep" / "deeper" / "deepest").mkdir(parents=True)
    for number in range(150):
        (root / "deep" / f"{number:03}.txt").write_bytes(noise.randbytes(number * 97))
    (root / "empty").write_bytes(b"")
    (root / "middle").write_bytes(noise.randbytes(3 << 20))
    (root / "large").write_bytes(noise.randbytes(LARGE))
    with (root / "sparse").open("wb") as file:
        for place in (1 << 20, 9 << 20):
            file.seek(place)
            file.write(noise.randbytes(300_000))
        file.truncate(20 << 20)
    with (root / "all hole").open("wb") as file:
        file.truncate(5 << 20)
    Path(os.fsdecode(names + b"/not \xff utf-8\n")).write_bytes(b"bytes")
    (root / "first name").write_bytes(b"one file, two names")
    os.link(root / "first name", root / "second name")
    (root / "link").symlink_to("../somewhere/else")
    (root / "link to bytes").symlink_to(os.fsdecode(b"\xfe\xff"))
    os.mkfifo(root / "pipe")
    os.setxattr(root / "middle", "user.colour", b"blue \0 green")
    (root / "middle").chmod(0o640)
    (root / "empty").chmod(0o400)
    (root / "deep" / "deeper").chmod(0o550)
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, ns=(WHEN, WHEN + len(path.name)), follow_symlinks=False)
    os.utime(root, ns=(WHEN, WHEN))


def snapshot_of(tree: Path, folder: Path, keyring: Keyring, agent: AgentKey) -> CID:
    """Back up a tree into a new folder store; returns the root."""
    store = FolderStore.create(folder)
    cache = Cache(folder.with_name(f"{folder.name}.cache"))
    source = Directory("tree", os.fsencode(tree), Rules(), Settings(), agent)
    try:
        rekey.publish(store, keyring)
        repository = backup.Repository(store, keyring, agent, cache, SystemClock())
        made = backup.backup(repository, source, backup.Wishes())
    finally:
        cache.close()
        store.close()
    assert [] == made.problems
    assert made.snapshot is not None
    return made.snapshot.root


def by_passphrase(owner: OwnerKey, stretch: slots.Stretch) -> tuple[Keyring, AgentKey]:
    """A keyring that a passphrase opens, and the owner's own agent."""
    agent = owner.agent(rekey.OWNER)
    slot = slots.passphrase_slot(Secret(PASSPHRASE), "p", owner.secrets(), owner.repository, os.urandom, stretch)
    return first_keyring(owner, [slot], [Agent(rekey.OWNER, agent.signer.public)], padding=True), agent


def by_recipient(owner: OwnerKey, recipient: str) -> tuple[Keyring, AgentKey]:
    """A keyring that two recipients open, the second of them the given one, and an agent that opens nothing."""
    agent = owner.agent("laptop", Secret(os.urandom(32)))
    stranger = str(pyrage.x25519.Identity.generate().to_public())
    made = [
        slots.age_slot(one, "", owner.secrets(), owner.repository, lambda data: owner.hide(data, os.urandom))
        for one in (stranger, recipient)
    ]
    return first_keyring(owner, made, [Agent("laptop", agent.signer.public)], padding=False), agent


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with some of everything."""
    root = tmp_path_factory.mktemp("source") / "tree"
    root.mkdir()
    make_tree(root)
    return root


@pytest.fixture(scope="module")
def passphrase_made(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A repository that a passphrase opens."""
    folder = tmp_path_factory.mktemp("passphrase")
    (folder / "word").write_bytes(PASSPHRASE + b"\n")
    root = snapshot_of(tree, folder / "repo", *by_passphrase(OwnerKey.new(os.urandom), CHEAP))
    return Made(folder / "repo", root, ["--passphrase-file", str(folder / "word")])


@pytest.fixture(scope="module")
def recipient_made(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A repository that an identity opens, made by an agent that opens nothing."""
    folder = tmp_path_factory.mktemp("recipient")
    identity = pyrage.x25519.Identity.generate()
    (folder / "identity").write_text(f"# created: today\n{identity}\n")
    root = snapshot_of(tree, folder / "repo", *by_recipient(OwnerKey.new(os.urandom), str(identity.to_public())))
    return Made(folder / "repo", root, ["--identity", str(folder / "identity")])


def recover(*words: str | Path, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the script as a stranger would: with nothing of pinfold in reach."""
    # -I: neither the environment nor the current folder tell Python where pinfold is.
    command = [sys.executable, "-I", *python, str(RECOVER), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def listing(root: Path) -> Iterator[tuple[object, ...]]:
    """What can be told of everything below a folder."""
    inodes: dict[int, int] = {}
    for path in sorted([root, *root.rglob("*")], key=os.fsencode):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        names = os.listxattr(path, follow_symlinks=False)
        attributes = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names]
        same = inodes.setdefault(status.st_ino, len(inodes))
        yield path.relative_to(root), status.st_mode, status.st_mtime_ns, status.st_nlink, same, attributes, content


def same_tree(one: Path, other: Path) -> None:
    """Assert that two trees are equal, without printing megabytes where they are not."""
    for expected, actual in zip(listing(one), listing(other), strict=True):
        assert expected[:-1] == actual[:-1]
        assert expected[-1] == actual[-1], f"content of {expected[0]!r} differs"


@contextmanager
def opened(made: Made) -> Iterator[dict[bytes, Entry]]:
    """The index of a snapshot that the passphrase opens, by path."""
    with FolderStore.open(made.folder) as store:
        whole = snapshot.load(made.root, store.get)
        owner = whole.keyring.open(slots.Passphrase(Secret(PASSPHRASE)))
        reader = Reader(store, owner.opener(0))
        try:
            yield {path: one for page in reader.pages(whole.open(owner, store.get).index) for path, one in page.rows()}
        finally:
            reader.close()


def restored(made: Made, target: Path, *cars: str | Path) -> subprocess.CompletedProcess[str]:
    """Restore a snapshot from the store's CARs, or from others."""
    return recover(*(cars or made.cars), "--root", str(made.root), "--target", target, *made.key)


def test_short() -> None:
    """The script has at most 300 lines."""
    assert LONGEST >= len(RECOVER.read_text(encoding="utf-8").splitlines())


def test_alone(passphrase_made: Made) -> None:
    """Nothing of pinfold's is imported, nor any library that only pinfold needs."""
    done = recover(*passphrase_made.cars, python=("-X", "importtime"))
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert {"libipld", "pyrage", "cryptography"} <= imported
    assert set() == imported & {"pinfold", "blake3", "fastcdc", "mmh3", "click", "rich"}


def test_tree_is_worth_restoring(tree: Path, passphrase_made: Made) -> None:
    """The tree that is compared has a bundle, a tree of refs and holes: what the comparison is to prove."""
    with opened(passphrase_made) as rows:
        large, middle, one, two = (
            rows[name].content for name in (b"large", b"middle", b"deep/001.txt", b"deep/002.txt")
        )
        holes = rows[b"sparse"].extents
    assert (Tree, Chunks, Slice, Slice) == (type(large), type(middle), type(one), type(two))
    assert 2 == len(holes or ())
    assert (tree / "sparse").stat().st_blocks * 512 < (tree / "sparse").stat().st_size


def test_passphrase(tree: Path, passphrase_made: Made, tmp_path: Path) -> None:
    """From a folder store's CARs, with a passphrase, a tree comes back as it was, holes included."""
    done = restored(passphrase_made, tmp_path / "t")
    assert (0, "") == (done.returncode, done.stderr)
    same_tree(tree, tmp_path / "t")
    for name in ("sparse", "all hole"):
        assert (tree / name).stat().st_blocks >= (tmp_path / "t" / name).stat().st_blocks


def test_identity(tree: Path, recipient_made: Made, tmp_path: Path) -> None:
    """From a folder store's CARs, with an age identity, a tree comes back as it was."""
    done = restored(recipient_made, tmp_path / "t")
    assert (0, "") == (done.returncode, done.stderr)
    same_tree(tree, tmp_path / "t")


def test_export(tree: Path, recipient_made: Made, tmp_path: Path) -> None:
    """An exported CAR is enough by itself."""
    with FolderStore.open(recipient_made.folder) as store:
        export(store, recipient_made.root, tmp_path / "one.car")
    done = restored(recipient_made, tmp_path / "t", tmp_path / "one.car")
    assert (0, "") == (done.returncode, done.stderr)
    same_tree(tree, tmp_path / "t")


def test_listing(passphrase_made: Made, recipient_made: Made) -> None:
    """Without a root the script lists the snapshots it finds, oldest first."""
    done = recover(*recipient_made.cars, *passphrase_made.cars)
    found = [line.split()[1] for line in done.stdout.splitlines()]
    assert sorted(map(str, (passphrase_made.root, recipient_made.root))) == sorted(found)
    assert sorted(done.stdout.splitlines()) == done.stdout.splitlines()


def test_which_snapshot(tmp_path: Path, passphrase_made: Made, recipient_made: Made) -> None:
    """A lone snapshot needs no root; of several, or of none, nothing is restored and exit code 2 says so."""
    words: list[str | Path] = ["--target", tmp_path / "t", *passphrase_made.key]
    several = recover(*recipient_made.cars, *passphrase_made.cars, *words)
    (tmp_path / "none.car").write_bytes(b"")
    none = recover(tmp_path / "none.car", *words)
    assert (2, 2, False) == (several.returncode, none.returncode, (tmp_path / "t").exists())
    assert "several snapshots; choose with --root CID" in several.stderr
    assert {str(passphrase_made.root), str(recipient_made.root)} == {
        line.split()[1] for line in several.stdout.splitlines()
    }
    assert "error: no snapshot" in none.stderr
    lone = recover(*passphrase_made.cars, *words)
    assert (0, "") == (lone.returncode, lone.stderr)


def test_other_ways_in(tmp_path: Path) -> None:
    """A PBKDF2 slot, a generation after the first, an SSH identity and a lone file are all understood."""
    (tmp_path / "lone").write_bytes(b"alone")
    owner = OwnerKey.new(os.urandom).next_generation(os.urandom)
    root = snapshot_of(tmp_path / "lone", tmp_path / "a", *by_passphrase(owner, PBKDF2))
    (tmp_path / "word").write_bytes(PASSPHRASE)
    done = restored(Made(tmp_path / "a", root, ["--passphrase-file", str(tmp_path / "word")]), tmp_path / "from-a")
    assert (0, "") == (done.returncode, done.stderr)
    assert b"alone" == (tmp_path / "from-a" / "lone").read_bytes()

    pair = Ed25519PrivateKey.generate()
    private = pair.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    (tmp_path / "id_ed25519").write_bytes(private)
    public = pair.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    root = snapshot_of(tmp_path / "lone", tmp_path / "b", *by_recipient(owner, public))
    done = restored(Made(tmp_path / "b", root, ["--identity", str(tmp_path / "id_ed25519")]), tmp_path / "from-b")
    assert (0, "") == (done.returncode, done.stderr)
    assert b"alone" == (tmp_path / "from-b" / "lone").read_bytes()


def test_wrong_key(passphrase_made: Made, recipient_made: Made, tmp_path: Path) -> None:
    """A key that opens no slot ends with exit code 5 and nothing written."""
    for made, other in ((passphrase_made, recipient_made), (recipient_made, passphrase_made)):
        done = restored(made._replace(key=other.key), tmp_path / "t")
        assert (5, "cannot restore: what was given opens no slot of the keyring\n") == (done.returncode, done.stderr)
        assert not (tmp_path / "t").exists()


def test_no_overwriting(passphrase_made: Made, tmp_path: Path) -> None:
    """A target that exists is refused."""
    done = restored(passphrase_made, tmp_path)
    assert (1, True) == (done.returncode, "File exists" in done.stderr)


def test_damage(tree: Path, passphrase_made: Made, tmp_path: Path) -> None:
    """One damaged block costs the files in it, which are named; all else comes back, and the exit code is 4."""
    with opened(passphrase_made) as rows, FolderStore.open(passphrase_made.folder) as store:
        content = rows[b"middle"].content
        assert isinstance(content, Chunks)
        block = store.get(content.refs[1].cid)
    for car_file in passphrase_made.cars:
        data = Path(car_file).read_bytes().replace(block, bytes(len(block)))
        (tmp_path / Path(car_file).name).write_bytes(data)
    done = restored(passphrase_made, tmp_path / "t", *sorted(tmp_path.glob("*.car")))
    assert (4, True, 1) == (done.returncode, done.stderr.startswith("b'middle': "), len(done.stderr.splitlines()))
    assert {"middle"} == {path.name for path in tree.iterdir()} - {path.name for path in (tmp_path / "t").iterdir()}


def test_torn_car(passphrase_made: Made, tmp_path: Path) -> None:
    """A CAR that is cut short is read up to there, and said so."""
    data = Path(passphrase_made.cars[0]).read_bytes()
    (tmp_path / "torn.car").write_bytes(data[: len(data) // 2])
    done = recover(tmp_path / "torn.car")
    assert (0, "", True) == (done.returncode, done.stdout, "not read from byte" in done.stderr)
    (tmp_path / "no.car").write_bytes(b"something else entirely, long enough to be read as a header")
    assert "damaged, or no CAR" in recover(tmp_path / "no.car").stderr


def test_forged_header(passphrase_made: Made, recipient_made: Made, tmp_path: Path) -> None:
    """A snapshot whose header was not signed by an agent of its keyring is refused."""
    blocks: list[tuple[CID, bytes]] = []

    def emit(cid: CID, block: bytes) -> None:
        blocks.append((cid, block))

    with FolderStore.open(passphrase_made.folder) as store, FolderStore.open(recipient_made.folder) as other:
        keyring = snapshot.load(passphrase_made.root, store.get).keyring
        forged = snapshot.reroot(snapshot.load(recipient_made.root, other.get), keyring, other.get, emit)
    sections = b"".join(car.section(cid, block) for cid, block in blocks)
    (tmp_path / "forged.car").write_bytes(car.header([forged.root]) + sections)
    cars: list[str | Path] = [tmp_path / "forged.car", *recipient_made.cars, *passphrase_made.cars]
    done = restored(passphrase_made._replace(root=forged.root), tmp_path / "t", *cars)
    assert (5, "cannot restore: a signature does not hold\n") == (done.returncode, done.stderr)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("recover", RECOVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hostile(path: bytes, mode: int, **rare: object) -> SimpleNamespace:
    """An entry as an index page gives it."""
    return SimpleNamespace(path=path, modes=mode, uids=0, gids=0, sizes=0, mtimes=0, bundle=None, offsets=0, rare=rare)


@pytest.mark.parametrize("path", [b"../out", b"a/../../out", b"/out", b"a//out", b"./out", b"a\0b"])
def test_paths_that_leave(script: ModuleType, tmp_path: Path, path: bytes) -> None:
    """A path that would lead out of the target is told and left out."""
    made = script.Snapshot.__new__(script.Snapshot)
    made.damage = 0
    made.entries = lambda: iter([hostile(path, stat.S_IFREG | 0o644), hostile(path, stat.S_IFLNK, targets=b"x")])
    (tmp_path / "t").mkdir()
    made.restore(os.fsencode(tmp_path / "t"))
    assert (4, []) == (made.damage + 1, list((tmp_path / "t").iterdir()))
    assert ["t"] == [one.name for one in tmp_path.iterdir()]


def test_links_that_leave(script: ModuleType, tmp_path: Path) -> None:
    """No order of links, files and folders of one name puts anything outside the target."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"mine")
    names = [
        hostile(b"a", stat.S_IFLNK | 0o777, targets=os.fsencode(outside)),
        hostile(b"a/file", stat.S_IFREG | 0o644),
        hostile(b"a/link", stat.S_IFLNK | 0o777, targets=b"x"),
        hostile(b"taken", stat.S_IFREG | 0o644, links=b"a/secret"),
        hostile(b"a", stat.S_IFDIR | 0o700),
    ]
    for number, order in enumerate(itertools.permutations(names)):
        made = script.Snapshot.__new__(script.Snapshot)
        made.damage = 0
        made.entries = lambda order=order: iter([copy.copy(one) for one in order])
        target = tmp_path / str(number)
        target.mkdir()
        made.restore(os.fsencode(target))
        assert ["secret"] == [one.name for one in outside.iterdir()]
        assert 1 == (outside / "secret").stat().st_nlink
