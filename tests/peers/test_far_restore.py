"""A restore on an empty machine with only a CID, a key and the addresses of gateways, good and bad ones."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyrage
import pytest

from crash.cli import CHEAP, Machine, grow
from crash.oracle import back_up
from engine import listing, noise, write
from lab.lies import cut_short, drip, endless, never, says
from lab.lying import LyingGateway
from lab.process import wait_until
from lab.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.kubo import Node
    from lab.liar import Answer, Request

    Empty = Callable[..., Machine]
    Lie = Callable[[Request], Answer]

DOCUMENT = Path(__file__).parents[2] / "docs" / "restore-from-anywhere.md"
MARK = re.compile(r"^<!-- run with ([\w-]+) -->\n```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CID_THERE = "bafybeiesoqbmwatvawlt5vjvprf7bderojoj4x7dxfgghav2gdp5gx5qem"
LARGE = 40 << 20
RATE = 30e6


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of small files, and of one that is large enough for a hundred blocks."""
    root = tmp_path_factory.mktemp("far") / "tree"
    grow(root, random.Random(1))
    (root / "empty").mkdir()
    (root / "link").symlink_to("folder 1/file 1")
    return write(root, {"dump": noise(1, LARGE)})


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, tree: Path) -> Machine:
    """The machine that made the snapshot."""
    folder = tmp_path_factory.mktemp("origin")
    made = Machine(folder / "store", folder / "cache")
    made.call("init", *CHEAP)
    made.call(*back_up(tree))
    return made


@pytest.fixture(scope="module")
def root(origin: Machine) -> str:
    """The snapshot's CID: all that is known of it elsewhere."""
    return str(origin.call("snapshots")["snapshots"][0]["root"])


@pytest.fixture
def holder(shared_node: Node, origin: Machine, root: str) -> Node:
    """A Kubo that holds the snapshot."""
    if not shared_node.has(root):
        for car in sorted((origin.store / "cars").iterdir()):
            shared_node.run("dag", "import", "--pin-roots=false", car)
    return shared_node


@pytest.fixture
def empty(tmp_path: Path) -> Empty:
    """A machine that knows of gateways and nothing else."""
    return lambda *urls: Machine(f"gateway+{','.join(urls)}", tmp_path / "empty cache")  # type: ignore[arg-type]


@pytest.fixture
def liar() -> Iterator[LyingGateway]:
    """A gateway that sends other bytes for every block."""
    with LyingGateway() as server:
        yield server


def test_a_cid_a_key_and_a_url_restore(holder: Node, tree: Path, root: str, empty: Empty, tmp_path: Path) -> None:
    """From Kubo's gateway alone everything comes back as it was."""
    machine = empty(holder.gateway)
    assert listing(tree) == machine.restored(root, tmp_path / "out")
    assert 0 == machine.call("restore", root, tmp_path / "out", "--overwrite", "if-newer")["files"]


def test_looking_before_restoring(holder: Node, root: str, empty: Empty, tmp_path: Path) -> None:
    """ls, find, diff, stats, verify and a rehearsal need no more than the CID either."""
    machine = empty(holder.gateway)
    assert "dump" in [one["path"] for one in machine.call("ls", root)["entries"]]
    assert ["dump"] == [one["path"] for one in machine.call("find", "dump", "--snapshot", root)["matches"]]
    assert [] == machine.call("diff", root, root)["changes"]
    assert LARGE < machine.call("stats", root)["bytes"]
    assert 0 == machine.call("verify", root, "--read", "--decrypt", "100")["damage_count"]
    assert LARGE < machine.call("restore", root, tmp_path / "out", "--dry-run")["bytes"]
    assert not (tmp_path / "out").exists()


def test_a_car_is_made_of_what_a_gateway_gives(holder: Node, root: str, empty: Empty, tmp_path: Path) -> None:
    """Export writes the snapshot out of a gateway, block for block as Kubo does."""
    said = empty(holder.gateway).call("export", root, tmp_path / "it.car")
    assert holder.run("dag", "export", "--progress=false", root) == (tmp_path / "it.car").read_bytes()
    assert said["bytes"] == (tmp_path / "it.car").stat().st_size


def test_a_store_of_ones_own_out_of_a_gateway(
    holder: Node, root: str, empty: Empty, tree: Path, tmp_path: Path
) -> None:
    """Replicate brings the snapshot and its keyring into a folder, from which it restores; unnamed it is refused."""
    machine = empty(holder.gateway)
    words = ("--to", tmp_path / "mine", "--create")
    refused = machine.run("replicate", *words)
    assert (2, 1) == (refused.code, refused.err.count("\n"))
    assert "whole CID" in refused.err
    shutil.rmtree(tmp_path / "mine", ignore_errors=True)
    said = machine.call("replicate", f"ipfs://{root}", *words)
    assert [True, False] == ["/keyring/" in pin["name"] for pin in said["stores"][0]["pins"]]
    mine = Machine(tmp_path / "mine", tmp_path / "my cache")
    assert root == mine.call("snapshots")["snapshots"][0]["root"]
    assert listing(tree) == mine.restored("latest", tmp_path / "out")


@pytest.mark.parametrize(
    "words",
    [
        ("snapshots",),
        ("restore", "latest", "out"),
        ("find", "dump"),
        ("verify",),
        ("backup", "."),
        ("forget", "--keep-last", "1"),
    ],
    ids=lambda words: words[0],
)
def test_what_needs_a_list_of_pins_says_so(holder: Node, empty: Empty, words: tuple[str, ...]) -> None:
    """A command that no CID is given to ends with exit code 2 and one line that says what to give."""
    done = empty(holder.gateway).run(*words)
    assert 2 == done.code, done
    assert 1 == done.err.count("\n"), done
    assert "has no list of pins" in done.err
    assert "whole CID" in done.err


def test_nothing_is_written_to_a_gateway(holder: Node, root: str, empty: Empty) -> None:
    """Commands that change something are refused in one line."""
    for words in (("init", *CHEAP), ("forget", root)):
        done = empty(holder.gateway).run(*words)
        assert 1 == done.code, done
        assert "is a gateway: it can be read, and nothing else" in done.err


def test_what_no_gateway_has(holder: Node, empty: Empty, tmp_path: Path) -> None:
    """A CID that nobody holds is damage, one that is no snapshot a mistake; one line tells of either."""
    other = holder.run("add", "-Q", input=b"no snapshot").decode().strip()
    nobody = "bafybeiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    for cid, code in ((other, 2), (nobody, 4)):
        done = empty(holder.gateway).run("restore", f"/ipfs/{cid}", tmp_path / "out")
        assert code == done.code, done
        assert 1 == done.err.count("\n"), done
        assert f"snapshot {cid} cannot be read from gateway+{holder.gateway}" in done.err
    assert not (tmp_path / "out").exists()


def test_a_liar_beside_an_honest_gateway(
    holder: Node, liar: LyingGateway, tree: Path, root: str, empty: Empty, tmp_path: Path
) -> None:
    """The restore is right, and the liar named."""
    done = empty(liar.url, holder.gateway).run("restore", root, tmp_path / "out")
    assert 0 == done.code, done
    assert listing(tree) == listing(tmp_path / "out")
    assert f"{liar.url}, which sent other bytes; it was not asked again" in done.err


BAD = {
    "bytes without end": endless(),
    "answers cut short": cut_short(b"some bytes", promised=100_000),
    "no answers": never(),
    "drips": drip(noise(1, 100_000), seconds=0.05),
    "nothing": says(b"", status=404),
    "errors": says(b"", status=500),
    "no time": says(b"", status=429, headers={"Retry-After": "60"}),
    "right bytes with a wrong name": says(noise(1, 1000), headers={"Content-Type": "application/vnd.ipld.raw"}),
}


@pytest.mark.parametrize("lie", BAD.values(), ids=BAD)
def test_a_bad_gateway_beside_a_good_one(
    holder: Node, liar: LyingGateway, tree: Path, root: str, empty: Empty, tmp_path: Path, lie: Lie
) -> None:
    """Whatever one gateway does, with another beside it the restore is right, and not much slower."""
    liar.lie("/ipfs/", lie)
    done = empty(liar.url, holder.gateway).run("restore", root, tmp_path / "out")
    assert 0 == done.code, done
    assert listing(tree) == listing(tmp_path / "out")


def test_a_liar_that_is_honest_at_first(holder: Node, tree: Path, root: str, empty: Empty, tmp_path: Path) -> None:
    """A gateway alone that sends one data block wrong costs what was to come from it; the rest is as it was."""
    with LyingGateway(truth=holder.gateway) as liar:
        block = max(_listed(holder, root), key=lambda line: int(line.split()[1]))
        liar.lie(block.split()[0], says(b"other bytes"))
        done = empty(liar.url).run("restore", root, tmp_path / "out")
        assert 4 == done.code, done
        assert liar.url in done.err
        back = listing(tmp_path / "out", folder_times=False)
        assert back.items() <= listing(tree, folder_times=False).items()


def test_nobody_but_a_liar(liar: LyingGateway, root: str, empty: Empty, tmp_path: Path) -> None:
    """With no honest gateway nothing is restored: exit code 4, and the liar is the reason."""
    done = empty(liar.url).run("restore", root, tmp_path / "out")
    assert 4 == done.code, done
    assert liar.url in done.err
    assert "other bytes" in done.err
    assert not (tmp_path / "out").exists()


def test_a_gateway_that_dies_in_the_middle_and_another(
    holder: Node, tree: Path, root: str, empty: Empty, tmp_path: Path
) -> None:
    """When one of two gateways is cut off after a few megabytes, the other sends the rest."""
    with Proxy(holder.gateway) as dying:
        dying.cut(r"GET /ipfs/bafkrei", of="response", after=50_000)
        process = empty(dying.url, holder.gateway).start("restore", root, tmp_path / "out")
        _some_came(dying)
        dying.refuse()
        dying.cut_all()
        _, err = process.communicate(timeout=120)
        assert 0 == process.returncode, err
    assert listing(tree) == listing(tmp_path / "out")


def test_the_only_gateway_goes_and_comes_back(
    holder: Node, tree: Path, root: str, empty: Empty, tmp_path: Path
) -> None:
    """While the only gateway is away for a moment the restore waits for it, and is right."""
    with Proxy(holder.gateway) as proxy:
        process = empty(proxy.url).start("restore", root, tmp_path / "out")
        _some_came(proxy)
        with proxy.refusing():
            wait_until(lambda: proxy.counts.in_flight == 0, what="everything is cut off")
        _, err = process.communicate(timeout=120)
        assert 0 == process.returncode, err
    assert listing(tree) == listing(tmp_path / "out")


def test_an_interrupt_is_heeded_while_a_gateway_is_silent(
    holder: Node, root: str, empty: Empty, tmp_path: Path
) -> None:
    """With every data block awaited from a gateway that says nothing, Ctrl-C ends the restore at once."""
    with LyingGateway(truth=holder.gateway) as liar:
        largest = [line.split()[0] for line in _listed(holder, root) if int(line.split()[1]) > 300_000]
        liar.lie(f"GET /ipfs/({'|'.join(largest)})", never())
        process = empty(liar.url).start("restore", root, tmp_path / "out")
        wait_until(lambda: any(cid in asked for asked in liar.asked[-100:] for cid in largest), what="one is asked for")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (130, 1) == (process.returncode, err.count("\n")), err
        assert time.monotonic() - began < 10


def _listed(holder: Node, root: str) -> list[str]:
    return holder.run("ls", f"/ipfs/{root}/blocks").decode().splitlines()


def _some_came(proxy: Proxy) -> None:
    wait_until(lambda: proxy.counts.bytes_down > 2 << 20, what="some megabytes came")


@pytest.mark.parametrize("words", [("restore",), ("verify", "--read"), ("export",)], ids=lambda words: words[0])
def test_sixty_four_blocks_are_under_way(
    holder: Node, root: str, empty: Empty, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """At a round trip of 50 ms and 240 Mbit/s at least 64 requests are in flight at once, as the network sees them."""
    place = () if words[0] == "verify" else (tmp_path / "out.car",)
    with Proxy(holder.gateway, latency=0.025, bandwidth=RATE) as proxy:
        done = empty(proxy.url).run(words[0], root, *place, *words[1:])
        assert 0 == done.code, done
        assert proxy.counts.most_in_flight >= 64


def test_identities_open_it_too(shared_node: Node, empty: Empty, tmp_path: Path) -> None:
    """A repository of recipients restores from a gateway with the identity file alone."""
    made = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"{made}\n")
    (tmp_path / "identity").chmod(0o600)
    small = write(tmp_path / "small", {"a": b"1", "b/c": noise(5, 700_000)})
    no_passphrase = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "PINFOLD_PASSPHRASE": ""}
    there = Machine(tmp_path / "store", tmp_path / "cache", environment=no_passphrase)
    for words in (("init", "--recipient", str(made.to_public())), ("backup", small)):
        assert 0 == (done := there.run(*words)).code, done
    cid = there.run("snapshots", "--json").document["snapshots"][0]["root"]
    assert 0 == there.run("export", cid, tmp_path / "it.car").code
    shared_node.run("dag", "import", tmp_path / "it.car")
    here = empty(shared_node.gateway)
    here.environment |= no_passphrase | {"PINFOLD_IDENTITY": str(tmp_path / "identity")}
    done = here.run("restore", cid, tmp_path / "out")
    assert 0 == done.code, done
    assert listing(small) == listing(tmp_path / "out")


@pytest.mark.parametrize("name", ["far", "far-looking", "far-recover"])
def test_the_document_is_right(shared_node: Node, tmp_path: Path, name: str) -> None:
    """The commands of docs/restore-from-anywhere.md do as they say, with a real gateway's address and CID put in."""
    home, documents = (
        tmp_path / "home",
        write(tmp_path / "documents", {"letters/a.txt": b"hello", "b": noise(3, 10**6)}),
    )
    home.mkdir()
    made = pyrage.x25519.Identity.generate()
    (home / "identity.txt").write_text(f"{made}\n")
    (home / "identity.txt").chmod(0o600)
    no_passphrase = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "PINFOLD_PASSPHRASE": ""}
    there = Machine(tmp_path / "store", tmp_path / "cache", environment=no_passphrase)
    for words in (("init", "--recipient", str(made.to_public())), ("backup", documents)):
        assert 0 == (done := there.run(*words)).code, done
    cid = there.run("snapshots", "--json").document["snapshots"][0]["root"]
    assert 0 == there.run("export", cid, tmp_path / "it.car").code
    shared_node.run("dag", "import", tmp_path / "it.car")
    text = dict(MARK.findall(DOCUMENT.read_text("utf-8")))[name]
    text = text.replace(CID_THERE, cid).replace("recover.py", str(DOCUMENT.parent.parent / "tools" / "recover.py"))
    for host in ("https://one.example", "https://two.example"):
        assert name == "far-recover" or host in text
        text = text.replace(host, shared_node.gateway)
    tools = Path(sys.executable).parent
    finished = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        env={"HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}", "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == finished.returncode, finished.stderr
    assert listing(documents) == listing(home / "restored")
