"""A pinning service as a store, against our own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import pytest

from lab.process import wait_until
from pinfold.errors import Missing, Refused, UsageError
from pinfold.gateway import gateway
from pinfold.ipld.cid import CID, IDENTITY, RAW
from pinfold.pinning import Limits, Options
from pinfold.seal.secret import Secret
from pinfold.store import Far, Fetches, MemoryStore, Pin, PinState, Usage, address
from pinfold.store.pinning import PinningStore
from pinning.served import EVERY, Client, running, served
from store.dags import Dag, noise, raw, shapes, trie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Account(NamedTuple):
    """An account at a service: a store that it can reach, the one it keeps its pins in, and the store of its pins."""

    reachable: MemoryStore
    kept: MemoryStore
    client: Client
    open: Callable[..., PinningStore]

    def offer(self, dag: Dag) -> Dag:
        """A DAG that the service can fetch."""
        self.reachable.put(dag.blocks)
        return dag


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """A service that fetches from a gateway of our own, and has one itself."""
    reachable, kept = MemoryStore("reachable"), MemoryStore("kept")
    doors = [gateway(reachable), gateway(kept)]
    options = Options(private_origins=True, patience=0.0, limits=Limits(seconds=60))
    with ExitStack() as stack:
        origin, reading = (stack.enter_context(served(door)) for door in doors)
        _, client = stack.enter_context(running(kept, tmp_path / "service", options))

        def opened(**asked: object) -> PinningStore:
            how = "&".join(f"{key}={value}" for key, value in {"origins": origin, "gateway": reading, **asked}.items())
            where = address.parse(f"psa+{client.url}?{how}")
            assert where is not None
            made = PinningStore(where, authorization=Secret(f"Bearer {client.token}".encode()))
            stack.callback(made.close)
            return made

        yield Account(reachable, kept, client, opened)
    for door in doors:
        door.close()


def test_a_pin_under_another_name(account: Account) -> None:
    """A root that somebody pinned under a name of their own is kept, and told not to be found as a snapshot."""
    store, dag = account.open(), account.offer(shapes()["folder"])
    store.pin(dag.root, "holiday")
    copy = store.status(dag.root).copies[0]
    assert (PinState.PINNED, True) == (copy.state, "under another name, 'holiday'" in copy.detail)
    store.pin(dag.root, "pinfold/r/s/full/t")
    assert "another name" not in store.status(dag.root).copies[0].detail


@pytest.mark.parametrize("shape", shapes())
def test_a_pin_is_waited_for_and_proved(account: Account, shape: str) -> None:
    """The service fetches, says pinned, and a sample of blocks comes back through its gateway."""
    store, dag = account.open(), account.offer(shapes()[shape])
    status = store.pin(dag.root, "snapshots/one")
    assert (1, False) == (status.pinned, status.short)
    assert store.name == status.copies[0].where
    assert status.copies[0].since.endswith("Z")
    assert "fetched and checked" in status.copies[0].detail
    assert [Pin(dag.root, "snapshots/one")] == list(store.pins())
    assert PinState.PINNED == store.status(dag.root).copies[0].state
    assert all(block == store.get(cid) for cid, block in dag.blocks)
    assert dag.cids <= store.has([*dag.cids, raw(b"not there")[0]])


def test_it_takes_no_blocks(account: Account) -> None:
    """A block is refused with a word of what to do instead; none is fine."""
    store = account.open()
    with pytest.raises(Refused, match="origins"):
        store.put(noise(1, 1))
    assert 0 == store.put([])
    assert isinstance(store, Fetches)
    assert isinstance(store, Far)
    assert 1 == len(store.origins)
    assert Usage(0) == store.usage()


def test_what_takes_long_is_told_as_it_stands(account: Account) -> None:
    """When waiting is over the status is short, says what the service waits for, and the request stays."""
    store = account.open(wait="0.3")
    cid, block = raw(b"not yet there")
    status = store.pin(cid, "one")
    assert (0, True, PinState.PINNING) == (status.pinned, status.short, status.copies[0].state)
    assert "/tcp/8080/http" in status.copies[0].detail
    assert [] == list(store.pins())
    account.reachable.put([(cid, block)])
    wait_until(lambda: store.status(cid).pinned == 1, seconds=30, what="the next attempt of the service")
    assert 1 == store.pin(cid, "one").pinned
    assert 1 == account.client.list(status=EVERY).document["count"]


def test_what_failed_is_told(account: Account) -> None:
    """A pin that the service will never have is a failed copy with its reason; asking anew makes a new request."""
    store = account.open()
    bad = CID.of(0x70, b"\xff\xff")
    account.reachable.put([(bad, b"\xff\xff")])
    status = store.pin(bad, "one")
    assert PinState.FAILED == status.copies[0].state
    assert "cannot be pinned" in status.copies[0].detail
    store.pin(bad, "one")
    assert 2 == account.client.list(status=EVERY).document["count"]
    store.unpin([bad])
    assert 0 == account.client.list(status=EVERY).document["count"]


def test_pinning_again_renames(account: Account) -> None:
    """A root has one name, the last, and one request."""
    store, dag = account.open(), account.offer(trie(2, 20))
    for name in ("a", "b/c", "b", "a"):
        store.pin(dag.root, name)
        assert [Pin(dag.root, name)] == list(store.pins())
        assert 1 == account.client.list(status=EVERY).document["count"]
    wait_until(lambda: [pin.name for pin in account.kept.pins()] == ["a"], what="the store's own name to follow")


def test_what_is_replaced_goes_after_its_successor_came(account: Account) -> None:
    """The old pin goes with the new one pinned, and stays while that is not."""
    store = account.open(wait="0.3")
    old, new = account.offer(trie(3, 20)), account.offer(trie(4, 20))
    account.open().pin(old.root, "one")
    store.pin(raw(b"nobody has this")[0], "one", replaces=old.root)
    assert [Pin(old.root, "one")] == list(store.pins())
    account.open().pin(new.root, "one", replaces=old.root)
    assert [Pin(new.root, "one")] == list(store.pins())
    assert PinState.ABSENT == store.status(old.root).copies[0].state
    account.open().pin(new.root, "two", replaces=new.root)
    assert [Pin(new.root, "two")] == list(store.pins())


def test_pins_come_by_prefix_and_in_order(account: Account) -> None:
    """A prefix is one of text; unpinning takes all requests of a root, and no others."""
    store = account.open()
    names = ["b/2", "a/1", "a-1", "a/10", "ab/1", "é/ü"]
    dags = [account.offer(Dag(block[0], (block,))) for block in noise(5, len(names))]
    for name, dag in zip(names, dags, strict=True):
        store.pin(dag.root, name)
    assert sorted(names) == [pin.name for pin in store.pins()]
    assert ["a/1", "a/10"] == [pin.name for pin in store.pins("a/")]
    assert [] == list(store.pins("/1"))
    store.unpin([dags[0].root, dags[1].root, raw(b"never pinned")[0]])
    assert ["a-1", "a/10", "ab/1", "é/ü"] == [pin.name for pin in store.pins()]
    store.unpin([])


def test_many_pins_are_all_listed(account: Account) -> None:
    """Also where there are more than a page holds."""
    cids = [CID(1, RAW, IDENTITY, b"%d" % number) for number in range(1003)]
    for cid in cids:
        account.client.add(cid, name=f"pins/{cid}")
    wait_until(lambda: account.client.list().document["count"] == len(cids), what="all to be pinned")
    store = account.open()
    assert sorted(cids) == sorted(pin.root for pin in store.pins("pins/"))
    assert sorted(cids[:25]) == sorted(one.root for one in store._api.about(cids[:25]))


def test_without_a_gateway_it_cannot_be_read(account: Account) -> None:
    """It says so, and pins are still made and told."""
    store, dag = account.open(gateway=""), account.offer(trie(6, 20))
    assert 1 == store.pin(dag.root, "one").pinned
    for question in (lambda: store.get(dag.root), lambda: store.has([dag.root])):
        with pytest.raises(Refused, match="gateway="):
            question()
    carried = CID(1, RAW, IDENTITY, b"here")
    assert ({carried}, b"here") == (store.has([carried]), store.get(carried))


def test_what_the_gateway_lacks_is_missing(account: Account) -> None:
    """As in every store."""
    with pytest.raises(Missing):
        account.open().get(raw(b"never put")[0])


def test_a_token_that_is_none_is_refused(account: Account) -> None:
    """The error names the service, and not the token."""
    where = address.parse(f"psa+{account.client.url}")
    assert where is not None
    store = PinningStore(where, authorization=Secret(b"Bearer not-for-your-eyes"))
    with pytest.raises(Refused) as caught:
        list(store.pins())
    store.close()
    assert "token" in str(caught.value)
    assert "not-for-your-eyes" not in str(caught.value) + repr(store)


def test_names_that_are_too_long(account: Account) -> None:
    """They are refused before anything is asked for."""
    with pytest.raises(Refused, match="255"):
        account.open().pin(raw(b"x")[0], "x" * 256)
    assert 0 == account.client.list(status=EVERY).document["count"]


@pytest.mark.parametrize(
    "text",
    [
        "psa+https://a,https://b",
        "psa+https://a?wait=soon",
        "psa+https://a?origins=ftp://h",
        "psa+https://a?origins=https://user:secret@h",
        "psa+https://a?gateway=h",
        "psa+https://a?gateway=https://user:secret@h",
        "psa+https://a?origins=" + ",".join(["/dns4/h/tcp/443/https"] * 21),
    ],
)
def test_addresses_that_make_no_sense(text: str) -> None:
    """They are told before anything is asked."""
    where = address.parse(text)
    assert where is not None
    with pytest.raises(UsageError) as caught:
        PinningStore(where)
    assert "gateway=https://user:secret" not in str(caught.value)
