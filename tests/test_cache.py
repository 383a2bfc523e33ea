"""The cache of one repository: what it keeps, and that no damage to it is ever more than forgetting."""

import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from pinfold import cache as cache_module
from pinfold.cache import Cache, Kept

PAGES = [b"%d" % number * 900 for number in range(40)]
FILL = """
import sys
from pathlib import Path
from pinfold.cache import Cache, Kept
cache, number = Cache(Path(sys.argv[1])), int(sys.argv[2])
for at in range(100):
    cache.add_tag(b"%032d" % (number * 1000 + at), b"d" * 32, at)
run = cache.begin(f"s{number}")
for at in range(40):
    cache.add_page(run, at, b"%d" % at * 900)
cache.commit(f"s{number}", "full", Kept(run, 40, "", 0, b"", frozenset()))
"""
SPARSE = frozenset({b"a" * 32, b"b" * 32})


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """Give an empty cache."""
    made = Cache(tmp_path / "c")
    yield made
    made.close()


def keep(cache: Cache, source: str = "s", kind: str = "full", generation: int = 0, pages: list[bytes] = PAGES) -> Kept:
    """Keep an index of some pages."""
    run = cache.begin(source)
    for number, page in enumerate(pages):
        cache.add_page(run, number, page)
    kept = Kept(run, len(pages), "root", generation, b"t" * 73, SPARSE)
    cache.commit(source, kind, kept)
    return kept


def test_what_is_kept_comes_back(cache: Cache) -> None:
    """Tags, nodes and the last index come back; what is not there is None."""
    cache.add_tag(b"t" * 32, b"d" * 32, 7)
    cache.add_node(1, b"n" * 32, b"plain")
    kept = keep(cache)
    assert [(b"d" * 32, 7), None, b"plain", None] == [
        cache.tag(b"t" * 32),
        cache.tag(b"u" * 32),
        cache.node(b"n" * 32),
        cache.node(b"o" * 32),
    ]
    assert [kept, None, None, None] == [
        cache.last("s", "full", 0),
        cache.last("s", "full", 1),
        cache.last("s", "checkpoint", 0),
        cache.last("other", "full", 0),
    ]
    assert PAGES == list(cache.pages(kept))


def test_what_replaces_what(cache: Cache) -> None:
    """A checkpoint replaces checkpoints, a full index all earlier ones of its source, and of no other."""
    other = keep(cache, "other")
    first, early, late = keep(cache), keep(cache, kind="checkpoint"), keep(cache, kind="checkpoint")
    assert [first, late, []] == [
        cache.last("s", "full", 0),
        cache.last("s", "checkpoint", 0),
        list(cache.pages(early)),
    ]
    second = keep(cache, pages=PAGES[:3])
    assert [second, None, other] == [
        cache.last("s", "full", 0),
        cache.last("s", "checkpoint", 0),
        cache.last("other", "full", 0),
    ]
    assert [[], [], PAGES[:3], PAGES] == [list(cache.pages(one)) for one in (first, late, second, other)]


def test_what_is_abandoned(cache: Cache) -> None:
    """A run that ends early leaves nothing but its checkpoint; a source that is forgotten leaves nothing."""
    run = cache.begin("s")
    cache.add_page(run, 0, b"page")
    cache.abandon(run)
    kept = Kept(run, 1, "", 0, b"", frozenset())
    assert [] == list(cache.pages(kept))
    checkpoint = keep(cache, kind="checkpoint")
    cache.abandon(checkpoint.run)
    assert PAGES == list(cache.pages(checkpoint))
    cache.forget("s")
    assert [None, []] == [cache.last("s", "checkpoint", 0), list(cache.pages(checkpoint))]


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    """The folder and the file are for their owner alone, and the root's ref is not printed."""
    Cache(tmp_path / "c").close()
    assert [0o700, 0o600] == [path.stat().st_mode & 0o777 for path in (tmp_path / "c", tmp_path / "c" / "cache.db")]
    assert "SECRET" not in repr(Kept(1, 1, "", 0, b"SECRET", frozenset()))


def test_a_torn_page_ends_the_index(tmp_path: Path) -> None:
    """Pages come up to the one whose bytes changed or that is gone, and none behind it."""
    cache = Cache(tmp_path)
    kept = keep(cache)
    db = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
    db.execute("UPDATE pages SET data = 'text' WHERE number = 30")
    assert PAGES[:30] == list(cache.pages(kept))
    db.execute("UPDATE pages SET data = x'00' WHERE number = 20")
    assert PAGES[:20] == list(cache.pages(kept))
    db.execute("DELETE FROM pages WHERE number = 10")
    assert PAGES[:10] == list(cache.pages(kept))
    db.close()
    cache.close()


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        ("UPDATE tags SET digest = x'00'", {"tag"}),
        ("UPDATE tags SET size = 'x'", {"tag"}),
        ("UPDATE nodes SET plain = 7", {"node"}),
        ("UPDATE runs SET tree = 'x'", {"last"}),
        ("UPDATE runs SET sparse = 0", {"last"}),
        ("DROP TABLE pages", {"pages"}),
        ("DROP TABLE runs", {"last", "pages"}),  # the whole file is begun anew, here before the pages are asked for
        ("DROP TABLE nodes", {"node", "last", "pages"}),
        ("DROP TABLE tags", {"tag", "node", "last", "pages"}),
    ],
)
def test_values_of_another_kind(tmp_path: Path, damage: str, lost: set[str]) -> None:
    """Values of a wrong type, and lost tables, are as if nothing were there."""
    cache = Cache(tmp_path)
    cache.add_tag(b"t" * 32, b"d" * 32, 7)
    cache.add_node(1, b"n" * 32, b"plain")
    kept = keep(cache)
    db = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
    db.execute(damage)
    db.close()
    assert {"tag", "node", "last", "pages"} - lost == {
        *(["tag"] if (b"d" * 32, 7) == cache.tag(b"t" * 32) else []),
        *(["node"] if cache.node(b"n" * 32) == b"plain" else []),
        *(["last"] if kept == cache.last("s", "full", 0) else []),
        *(["pages"] if list(cache.pages(kept)) == PAGES else []),
    }
    works(cache)
    cache.close()


def works(cache: Cache) -> None:
    """Keep something and find it again."""
    cache.add_tag(b"w" * 32, b"x" * 32, 9)
    kept = keep(cache, "after")
    assert [(b"x" * 32, 9), kept, PAGES] == [
        cache.tag(b"w" * 32),
        cache.last("after", "full", 0),
        list(cache.pages(kept)),
    ]


@pytest.mark.parametrize("content", [b"", b"no database at all", bytes(5000), b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    """Whatever lies where the cache should be, a cache is begun there."""
    (tmp_path / "cache.db").write_bytes(content)
    cache = Cache(tmp_path)
    works(cache)
    cache.close()


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    """Where no file can be, the cache lasts as long as the process."""
    (tmp_path / "cache.db" / "x").mkdir(parents=True)
    cache = Cache(tmp_path)
    works(cache)
    cache.close()


def test_another_version(tmp_path: Path) -> None:
    """A cache of another version is deleted and begun anew."""
    cache = Cache(tmp_path)
    kept = keep(cache)
    cache.close()
    db = sqlite3.connect(tmp_path / "cache.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    cache = Cache(tmp_path)
    assert (None, []) == (cache.last("s", "full", 0), list(cache.pages(kept)))
    works(cache)
    cache.close()


@pytest.mark.parametrize("seed", range(30))
def test_damage_anywhere(tmp_path: Path, seed: int) -> None:
    """Bytes changed anywhere in the file, open or closed, raise nothing; pages that come are the true ones."""
    random = Random(seed)
    cache = Cache(tmp_path)
    for number in range(300):
        cache.add_tag(b"%032d" % number, b"%032d" % -number, number)
        cache.add_node(1, b"%032d" % number, b"plain" * number)
    kept = keep(cache)
    if seed % 2:
        cache.close()
    else:
        with sqlite3.connect(tmp_path / "cache.db") as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
    data = bytearray((tmp_path / "cache.db").read_bytes())
    for _ in range(random.choice([1, 30, 300])):
        data[random.randrange(len(data))] = random.randrange(256)
    with (tmp_path / "cache.db").open("r+b") as file:
        file.write(data[: random.choice([len(data), len(data), len(data) * 2 // 3])])
        file.truncate()
    if seed % 2:
        cache = Cache(tmp_path)
    for number in range(300):
        cache.tag(b"%032d" % number)
        cache.node(b"%032d" % number)
    cache.last("s", "full", 0)
    found = list(cache.pages(kept))
    assert PAGES[: len(found)] == found
    for name in ("s", "other"):
        cache.forget(name)
        cache.abandon(cache.begin(name))
    keep(cache, "new")
    cache.close()


def test_a_closed_cache_keeps_its_file(tmp_path: Path) -> None:
    """Using a cache that was closed is a defect that shows, and deletes nothing."""
    cache = Cache(tmp_path)
    keep(cache)
    cache.close()
    with pytest.raises(sqlite3.ProgrammingError):
        cache.tag(b"t")
    cache = Cache(tmp_path)
    assert None is not cache.last("s", "full", 0)
    cache.close()


def test_a_busy_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the file, the cache is forgetful, and the other's work stays."""
    monkeypatch.setattr(cache_module, "_PATIENCE", 0)
    cache = Cache(tmp_path)
    cache.add_tag(b"t" * 32, b"d" * 32, 7)
    other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    cache.add_tag(b"u" * 32, b"d" * 32, 7)
    late = Cache(tmp_path)
    assert 0 == late.begin("s")
    other.execute("COMMIT")
    other.close()
    works(late)
    assert [(b"d" * 32, 7), None] == [cache.tag(b"t" * 32), cache.tag(b"u" * 32)]
    cache.close()
    late.close()


def test_two_processes(tmp_path: Path) -> None:
    """Processes that begin and fill one cache together all find each other's tags."""
    command = [sys.executable, "-c", FILL, str(tmp_path)]
    workers = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    assert [0, 0, 0] == [worker.wait() for worker in workers]
    cache = Cache(tmp_path)
    assert 0 == sum(cache.tag(b"%032d" % (number * 1000 + at)) is None for number in range(3) for at in range(100))
    for number in range(3):
        last = cache.last(f"s{number}", "full", 0)
        assert last is not None
        assert PAGES == list(cache.pages(last))
    cache.close()


def test_it_stays_in_its_process(cache: Cache) -> None:
    """A cache cannot be sent elsewhere."""
    with pytest.raises(TypeError):
        pickle.dumps(cache)
