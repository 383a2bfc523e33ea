"""The gateways that the rules are tried on: Kubo's own, and pinfold's over a store folder, with the same content."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from gateway import content, serve
from gateway.client import Answer, ask
from lab.process import Process
from pinfold.store.folder import FolderStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.content import Content
    from lab.kubo import Node

SOURCE = Path(__file__).resolve().parents[2] / "src"

_LATE = "Kubo 0.42 begins a CAR before it has the root; boxo#1019 changes that"
DEVIATIONS = {
    "test_a_missing_root_is_404[GET-car]": _LATE,
    "test_a_missing_root_is_404[HEAD-car]": _LATE,
    "test_blocks_of_a_car[bytes without a scope]": "entity-bytes implies dag-scope=entity; boxo 0.40 sends all",
}
"""Rules that Kubo 0.42 does not hold, by the name of the test and its case, and why."""


class Site(NamedTuple):
    """A gateway: its URL, what it serves, and an IPNS name it knows, which leads to content["tree"]."""

    url: str
    content: Content
    name: str

    def ask(self, path: str, method: str = "GET", query: dict[str, str] | None = None, **headers: str) -> Answer:
        """Ask for a path, in which {a/b} is the CID of that content."""
        path = re.sub(r"\{(.*?)\}", lambda found: str(self.content[found[1]]), path)
        return ask(self.url, path, method, query, **headers)


@pytest.fixture(scope="session")
def made() -> Content:
    """The content, the middle of whose torn file nobody gets."""
    return content.make()


@pytest.fixture(scope="session")
def kubo_site(shared_node: Node, made: Content) -> Site:
    """Kubo's own gateway."""
    shared_node.run("dag", "import", "--pin-roots=false", input=made.as_car(without=made.parts["torn"][1]))
    name = shared_node.run("key", "gen", "conformance").decode().strip()
    published = ["--key=conformance", "--allow-offline", "--lifetime=800h", f"/ipfs/{made['tree']}"]
    shared_node.run("name", "publish", *published)
    return Site(shared_node.gateway, made, name)


@pytest.fixture(scope="session")
def pinfold_site(kubo_site: Site, made: Content, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Pinfold's gateway over a store folder, which holds the record that Kubo signed."""
    home = tmp_path_factory.mktemp("gateway")
    with FolderStore.create(home / "store") as store, store.session():
        store.put((cid, block) for cid, block in made.blocks.items() if cid != made.parts["torn"][1])
    (home / "records").mkdir()
    record = ask(kubo_site.url, f"/ipns/{kubo_site.name}", query={"format": "ipns-record"})
    (home / "records" / f"{kubo_site.name}.ipns-record").write_bytes(record.body)
    command = [sys.executable, serve.__file__, home / "store", home / "records"]
    process = Process("pinfold's gateway", command, home / "log", {"PYTHONPATH": str(SOURCE)})
    process.launch(lambda: "\n" in process.log)
    yield Site(process.log.split()[0], made, kubo_site.name)
    process.kill()


@pytest.fixture(params=["pinfold", "kubo"])
def site(request: pytest.FixtureRequest, kubo_site: Site, pinfold_site: Site) -> Site:
    """Each gateway in turn; a rule that Kubo does not hold must fail for it."""
    if request.param == "pinfold":
        return pinfold_site
    name = request.node.name.replace("[kubo-", "[").replace("[kubo]", "")
    if name in DEVIATIONS:
        request.applymarker(pytest.mark.xfail(raises=AssertionError, strict=True, reason=DEVIATIONS[name]))
    return kubo_site
