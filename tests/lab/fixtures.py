"""Fixtures that start real programs; a test that names one of them is slow, because the programs take minutes to build.

`node` a fresh daemon; `shared_node` one for all tests that only add to it; `node_factory` any number of daemons.
`cluster2` two peers of IPFS Cluster for all tests that only add to it; `cluster_factory` any number of clusters.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import Cluster, new_cluster
from lab.kubo import Node, new_node
from lab.program import Kubo, make_template

NEEDING_PROGRAMS = frozenset(
    {"cluster2", "cluster_factory", "kubo", "kubo_template", "node", "node_factory", "shared_node"}
)


@pytest.fixture(scope="session")
def kubo_template(tmp_path_factory: pytest.TempPathFactory) -> Kubo:
    """An initialised repository that no test uses."""
    try:
        return make_template(tmp_path_factory.mktemp("kubo") / "template")
    except FileNotFoundError as missing:
        pytest.fail(str(missing), pytrace=False)


@pytest.fixture
def node_factory(kubo_template: Kubo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Node]]:
    """A function that makes and starts nodes, with new_node's own settings; they end with the test."""
    with ExitStack() as running:

        def make(home: Path | None = None, **settings: Any) -> Node:  # noqa: ANN401  new_node knows what each is
            home = home or tmp_path_factory.mktemp("kubo") / "repository"
            return running.enter_context(new_node(kubo_template.binary, kubo_template.home, home, **settings))

        yield make


@pytest.fixture
def node(node_factory: Callable[..., Node]) -> Node:
    """A fresh running daemon with no network."""
    return node_factory()


@pytest.fixture(scope="session")
def shared_node(kubo_template: Kubo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A running daemon with no network, for all tests that only add to it and read from it."""
    home = tmp_path_factory.mktemp("kubo") / "repository"
    with new_node(kubo_template.binary, kubo_template.home, home) as node:
        yield node


@pytest.fixture(scope="session")
def cluster2(kubo_template: Kubo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two peers, each pin on both, for all tests that only add to them and read from them."""
    with new_cluster(2, kubo_template, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster_factory(kubo_template: Kubo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Cluster]]:
    """A function that makes clusters and waits till they are ready, with new_cluster's own settings."""
    with ExitStack() as running:

        def make(count: int, **settings: Any) -> Cluster:  # noqa: ANN401  new_cluster knows what each is
            folder = tmp_path_factory.mktemp("cluster")
            return running.enter_context(new_cluster(count, kubo_template, folder, **settings))

        yield make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow what needs a real program: the tests run in a second, but the program takes minutes to build."""
    for item in items:
        if not NEEDING_PROGRAMS.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
