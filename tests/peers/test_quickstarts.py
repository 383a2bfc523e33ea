"""What docs/quickstart.md shows is run as it stands; nothing is put in but the addresses of nodes of this test.

Two machines are two homes. Between making a node and starting it, its ports are changed, and what would ask others.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyrage
import pytest

from engine import listing
from lab.cluster import LIVELY, changed
from lab.kubo import QUIET
from lab.process import Process, accepts, free_port
from lab.program import COMPONENTS, write_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.kubo import Node

PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"
MARK = re.compile(r"^<!-- run with ([\w-]+) -->\n```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS: dict[str, str] = dict(MARK.findall(PAGE.read_text("utf-8")))
SECONDS = 180
EXAMPLE = "bafybeiesoqbmwatvawlt5vjvprf7bderojoj4x7dxfgghav2gdp5gx5qem"

pytestmark = pytest.mark.slow


class Machine:
    """A home, ports of its own, what runs there, and what stands in the page for its addresses."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir()
        path = f"{Path(sys.executable).parent}:{COMPONENTS / 'bin'}:{os.environ['PATH']}"
        self.environment = {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8"}
        self.programs: list[Process] = []
        self.api, self.gateway, self.swarm, self.rest, self.proxy, self.psa, self.peer = (free_port() for _ in range(7))
        self.words = {
            "127.0.0.1:5001": f"127.0.0.1:{self.api}",
            "https://node.example": f"http://127.0.0.1:{self.api}",
            "https://ipfs.example": f"http://127.0.0.1:{self.gateway}",
            "127.0.0.1:9094": f"127.0.0.1:{self.rest}",
            "192.0.2.1/tcp/4001": f"127.0.0.1/tcp/{self.swarm}",
            "192.0.2.1/tcp/9096": f"127.0.0.1/tcp/{self.peer}",
        }

    def run(self, name: str, *, code: int = 0) -> str:
        """Run a block of the page; returns what it said."""
        return self.shell(self._text(name), code=code)

    def shell(self, text: str, *, code: int = 0) -> str:
        """Run commands in the home; returns what they said."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert code == done.returncode, done.stdout
        return done.stdout

    def start(self, name: str, port: int) -> None:
        """Run a block that is one program in the background; returns once it listens on the port."""
        command = ["bash", "-c", f"exec env {self._text(name)}"]
        process = Process(f"{name} of {self.home.name}", command, self.home / f"{name}.log", self.environment)
        self.programs.append(process)
        process.launch(partial(accepts, port))

    def lose_power(self) -> None:
        """Kill all its programs."""
        while self.programs:
            self.programs.pop().kill()

    def settle_kubo(self) -> None:
        """Give its Kubo ports of its own, and take from it what would look for others by itself."""
        addresses = {"API": self.api, "Gateway": self.gateway}
        changes: dict[str, object] = {f"Addresses.{name}": tcp(port) for name, port in addresses.items()}
        changes["Addresses.Swarm"] = [tcp(self.swarm)]
        write_config(self.home / ".ipfs", {**QUIET, **changes})

    def settle_peer(self) -> None:
        """Give its Cluster peer ports of its own, and let it tell its metrics every second or so."""
        file = self.home / ".ipfs-cluster" / "service.json"
        own = {
            "cluster.listen_multiaddress": [tcp(self.peer)],
            "api.restapi.http_listen_multiaddress": tcp(self.rest),
            "api.pinsvcapi.http_listen_multiaddress": tcp(self.psa),
            "api.ipfsproxy.listen_multiaddress": tcp(self.proxy),
            "api.ipfsproxy.node_multiaddress": tcp(self.api),
            "ipfs_connector.ipfshttp.node_multiaddress": tcp(self.api),
        }
        lively = {key: value for key, value in LIVELY.items() if not key.startswith("datastore.")}
        file.write_text(changed(file.read_text("utf-8"), lively | own), "utf-8")

    def start_kubo(self) -> None:
        """Start the node of the quick start with one Kubo."""
        self.shell("ipfs config profile apply autoconf-off")
        self.settle_kubo()
        self.start("kubo-daemon", self.api)

    def _text(self, name: str) -> str:
        text = BLOCKS[name]
        for word, ours in self.words.items():
            text = text.replace(word, ours)
        return text


def tcp(port: int) -> str:
    """A multiaddress on this machine."""
    return f"/ip4/127.0.0.1/tcp/{port}"


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Callable[[str], Machine]]:
    """A function that makes machines; what runs on them ends with the test."""
    with ExitStack() as ends:

        def make(name: str) -> Machine:
            made = Machine(tmp_path / name)
            ends.callback(made.lose_power)
            return made

        yield make


@pytest.fixture
def machine(machines: Callable[[str], Machine]) -> Machine:
    """The machine that has documents and a passphrase."""
    made = machines("one")
    folder = made.home / "documents" / "letters"
    folder.mkdir(parents=True)
    (folder / "to a friend.txt").write_text("hello\n", "utf-8")
    (made.home / "documents" / "picture").write_bytes(bytes(range(256)) * 8192)
    made.run("passphrase")
    return made


def make_identity(machine: Machine) -> None:
    """Make an age identity and its recipient, as age's own programs would."""
    identity = pyrage.x25519.Identity.generate()
    (machine.home / "identity.txt").write_text(f"{identity}\n", "utf-8")
    (machine.home / "identity.txt").chmod(0o600)
    (machine.home / "recipient.txt").write_text(f"{identity.to_public()}\n", "utf-8")


def assert_restored(saved: Machine, on: Machine) -> None:
    """What was saved lies in `restored` of a machine."""
    assert listing(saved.home / "documents") == listing(on.home / "restored")


def test_a_folder(machine: Machine) -> None:
    """The quick start with a folder gives back what was saved."""
    machine.run("folder")
    assert_restored(machine, on=machine)


def test_your_kubo(machine: Machine) -> None:
    """The quick start with a new Kubo gives back what was saved, and gc leaves the snapshot whole."""
    machine.run("kubo-node")
    machine.start_kubo()
    machine.run("kubo")
    assert_restored(machine, on=machine)
    assert "no damage found" in machine.shell(f"pinfold -r kubo+http://127.0.0.1:{machine.api} verify --read")


def test_an_agent_that_cannot_unpin(machine: Machine, machines: Callable[[str], Machine]) -> None:
    """With the page's tokens an agent saves, and can neither unpin nor free nor read; the owner can all that."""
    owner = machines("owner")
    make_identity(owner)
    shutil.copy(owner.home / "recipient.txt", machine.home)
    machine.run("kubo-node")
    machine.run("kubo-tokens")
    shutil.move(machine.home / "retention.token", owner.home)
    machine.start_kubo()
    machine.run("kubo-agent")
    agent = f"pinfold -r kubo+http://127.0.0.1:{machine.api}"
    machine.environment |= {"PINFOLD_TOKEN_FILE": "agent.token"}
    machine.shell(f"{agent} backup ~/documents")
    assert "token" in machine.shell(f"{agent} forget --keep-last 1", code=1)
    assert "token" in machine.shell(f"! {agent} gc")
    machine.shell(f"{agent} restore latest ~/read", code=5)
    owner.words = machine.words
    owner.run("kubo-owner")
    assert_restored(machine, on=owner)


def test_two_machines(machine: Machine, machines: Callable[[str], Machine]) -> None:
    """Two machines made by hand prove two copies of a snapshot; the first dies, and the second restores it."""
    second = machines("two")
    machine.run("cluster-first")
    shutil.copytree(machine.home / "network", second.home / "network")
    second.words |= {word: ours for word, ours in machine.words.items() if word.startswith("192.0.2.1/")}
    second.run("cluster-second")
    for one in (machine, second):
        one.settle_kubo()
        one.settle_peer()
        one.start("cluster-kubo", one.api)
    for one in (machine, second):
        one.start("cluster-peer", one.rest)
    told = machine.run("cluster")
    assert ["one", "two"] == sorted(re.findall(r"(\w+) +pinned\b", told)), told
    second.lose_power()
    short = f"cluster+http://127.0.0.1:{machine.rest}?min=2&wait=2&kubo=http://127.0.0.1:{machine.api}"
    machine.environment |= {
        "PINFOLD_REPOSITORY": short,
        "PINFOLD_TOKEN_FILE": "network/token",
        "PINFOLD_PASSPHRASE_FILE": "passphrase",
    }
    machine.shell("echo more >documents/more")
    assert "two" in machine.shell("pinfold backup ~/documents", code=3)
    second.start("cluster-kubo", second.api)
    second.start("cluster-peer", second.rest)
    machine.shell("pinfold status --all --wait 2min")
    shutil.copy(machine.home / "passphrase", second.home)
    machine.lose_power()
    second.run("cluster-restore")
    assert_restored(machine, on=second)


def test_any_gateway(machine: Machine, machines: Callable[[str], Machine], shared_node: Node) -> None:
    """An empty machine restores from a gateway, with a CID, an identity and a URL."""
    empty = machines("empty")
    make_identity(empty)
    repository = f"kubo+{shared_node.api}"
    recipient = (empty.home / "recipient.txt").read_text("utf-8").strip()
    machine.shell(f"pinfold -r {repository} init --recipient {recipient}")
    said = machine.shell(f"pinfold -r {repository} backup ~/documents --json --quiet")
    root = json.loads(said)["sources"][0]["root"]
    (empty.home / "recipient.txt").unlink()
    empty.words |= {"https://ipfs.example": shared_node.gateway, EXAMPLE: root}
    empty.run("gateway")
    assert_restored(machine, on=empty)


def test_a_gateway_of_ones_own(machine: Machine, machines: Callable[[str], Machine]) -> None:
    """What `pinfold serve` serves from a folder, the page's restore takes on an empty machine."""
    machine.run("folder")
    told = machine.shell("pinfold -r ~/backups snapshots --json")
    empty = machines("empty")
    port = free_port()
    machine.words["127.0.0.1:8480"] = f"127.0.0.1:{port}"
    machine.start("serve", port)
    empty.words |= {
        "https://ipfs.example": f"http://127.0.0.1:{port}",
        EXAMPLE: json.loads(told)["snapshots"][0]["root"],
    }
    empty.words |= {" --identity ~/identity.txt": ""}
    shutil.copy(machine.home / "passphrase", empty.home)
    empty.environment |= {"PINFOLD_PASSPHRASE_FILE": "passphrase"}
    empty.run("gateway")
    assert_restored(machine, on=empty)


def test_files(machine: Machine) -> None:
    """What the page exports and imports restores from the other store."""
    machine.run("folder")
    machine.run("files")
    shutil.rmtree(machine.home / "restored")
    machine.shell("PINFOLD_PASSPHRASE_FILE=passphrase pinfold -r ~/elsewhere restore latest restored")
    assert_restored(machine, on=machine)


def test_every_block_is_run() -> None:
    """Each block of the page bears a mark, and a test here runs it."""
    page = PAGE.read_text("utf-8")
    assert page.count("\n```") == 2 * len(BLOCKS)
    here = Path(__file__).read_text("utf-8")
    assert [] == [name for name in BLOCKS if f'("{name}"' not in here]
