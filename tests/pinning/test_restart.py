"""What a service still knows after it ended, in order or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.process import wait_until
from lab.proxy import Proxy
from pinfold.errors import Refused, Unavailable, UsageError
from pinfold.pinning import Limits, Options, PinningService
from pinfold.store import Fault, Faulty, FolderStore, MemoryStore
from pinning.conftest import PATIENT
from pinning.served import EVERY, Client, alone, running
from store.dags import folder, noise, raw, trie

if TYPE_CHECKING:
    from pathlib import Path

    from pinning.conftest import Origin


def pinned(client: Client, identity: str) -> bool:
    """Whether a request has come to its end."""
    return bool(client.get(identity).document["status"] == "pinned")


def test_a_killed_service_goes_on(tmp_path: Path, origin: Origin) -> None:
    """What was queued, and what was half fetched, is pinned by the next process; no token or request is lost."""
    half, queued = folder(noise(1, 60, 50_000)), trie(2)
    origin.store.put([*half.blocks, *queued.blocks])
    with Proxy(origin.url) as proxy:
        fault = proxy.cut("format=car", of="response", after=500_000)
        proxy.stall("format=raw", times=None, nth=2)
        with alone(tmp_path) as first:
            made = [first.client.add(half.root, name="a", origins=[proxy.url])]
            fault.wait()
            made.append(first.client.add(queued.root, name="b", origins=[proxy.url]))
            assert [202, 202] == [answer.status for answer in made]
            first.process.kill()
        proxy.heal()
        with alone(tmp_path) as second:
            client = Client(second.client.url, first.client.token)
            identities = [answer.document["requestid"] for answer in made]
            wait_until(lambda: all(pinned(client, one) for one in identities), seconds=30, what="both pins")
    store = FolderStore(tmp_path / "store")
    assert ["a", "b"] == [pin.name for pin in store.pins()]
    assert all(block == store.get(cid) for cid, block in [*half.blocks, *queued.blocks])
    store.close()


def test_what_was_dropped_before_the_end_is_unpinned_after(tmp_path: Path) -> None:
    """A request that was dropped while the store did not answer is gone, and its pin goes when the store is back."""
    dag, store = trie(3), MemoryStore()
    store.put(dag.blocks)
    deaf = Faulty(store, Fault("unpin", frozenset(range(1, 1000)), Unavailable("not now")))
    with running(deaf, tmp_path, PATIENT) as (_, client):
        told = client.add(dag.root, name="a").document
        assert 202 == client.delete(told["requestid"]).status
        assert 404 == client.get(told["requestid"]).status
    assert ["a"] == [pin.name for pin in store.pins()]
    with running(store, tmp_path, PATIENT):
        wait_until(lambda: not list(store.pins()), what="the pin to go")


def test_a_pin_that_the_store_lost_is_made_again(tmp_path: Path, origin: Origin) -> None:
    """What somebody unpinned and collected behind the service's back is fetched again at its next start."""
    dag, store = trie(4), MemoryStore()
    origin.store.put(dag.blocks)
    with running(store, tmp_path, PATIENT) as (_, client):
        told = client.add(dag.root, name="a", origins=[origin.url]).document
        assert "pinned" == told["status"]
    store.unpin([dag.root])
    store.collect()
    with running(store, tmp_path, PATIENT) as (_, client):
        wait_until(lambda: [pin.name for pin in store.pins()] == ["a"], what="the pin to come back")
        wait_until(lambda: pinned(client, told["requestid"]), what="the request to be pinned again")


def test_a_store_that_fails_now_is_tried_again(tmp_path: Path) -> None:
    """A request whose pin the store could not make is queued, with the reason, and not failed."""
    dag, store = trie(5), MemoryStore()
    store.put(dag.blocks)
    stumbling = Faulty(store, Fault("pin", frozenset({1}), Unavailable("the disk is away")))
    with running(stumbling, tmp_path, PATIENT) as (_, client):
        told = client.add(dag.root).document
        assert ("queued", "the disk is away") == (told["status"], told["info"]["status_details"])
        wait_until(lambda: pinned(client, told["requestid"]), seconds=20, what="the second attempt")


def test_what_can_never_be_pinned_has_failed(tmp_path: Path, origin: Origin) -> None:
    """It says why, keeps nothing, and can be dropped."""
    dag, store = trie(6), MemoryStore()
    origin.store.put(dag.blocks)
    small = Options(private_origins=True, patience=20.0, limits=Limits(pin_blocks=3))
    with running(store, tmp_path, small) as (_, client):
        told = client.add(dag.root, origins=[origin.url]).document
        assert ("failed", True) == (told["status"], "3 blocks" in told["info"]["status_details"])
        assert 1 == client.list(status="failed").document["count"]
        assert 202 == client.delete(told["requestid"]).status
    assert [] == list(store.pins())


def test_what_nobody_has_is_given_up_in_the_end(tmp_path: Path) -> None:
    """When its days are over a request has failed."""
    with running(MemoryStore(), tmp_path, Options(patience=20.0, limits=Limits(days=0))) as (_, client):
        told = client.add(raw(b"nobody has this")[0]).document
        assert ("failed", True) == (told["status"], "given up" in told["info"]["status_details"])


def test_a_tenant_has_so_many_pins(tmp_path: Path) -> None:
    """One more is refused as the API says it, replacing one is not; others have their own."""
    with running(MemoryStore(), tmp_path, Options(patience=0.0, most=2)) as (service, client):
        cids = [raw(bytes([number]))[0] for number in range(4)]
        told = [client.add(cid) for cid in cids[:3]]
        assert [202, 202, 409] == [answer.status for answer in told]
        assert "INSUFFICIENT_FUNDS" == told[2].document["error"]["reason"]
        assert 202 == client.replace(told[0].document["requestid"], cids[3]).status
        _, secret = service.tokens.add("hers", tenant="alice")
        assert 202 == Client(client.url, secret.reveal().decode()).add(cids[0]).status
        assert 3 == sum(service.counts().values())


def test_one_tenant_does_not_take_all_workers(tmp_path: Path, origin: Origin) -> None:
    """While one tenant's pins hang at an origin that is silent, another's is pinned."""
    hanging = [folder(noise(seed, 3)) for seed in range(10, 16)]
    dag = trie(7)
    origin.store.put(dag.blocks)
    options = Options(private_origins=True, patience=0.0, workers=2)
    with Proxy(origin.url) as proxy, running(MemoryStore(), tmp_path, options) as (service, client):
        fault = proxy.stall("format=", times=None)
        for one in hanging:
            client.add(one.root, origins=[proxy.url])
        fault.wait()
        _, secret = service.tokens.add("hers", tenant="alice")
        alice = Client(client.url, secret.reveal().decode())
        told = alice.add(dag.root, origins=[origin.url]).document
        wait_until(lambda: pinned(alice, told["requestid"]), what="the other tenant's pin")
        assert len(hanging) == client.list(status="queued,pinning").document["count"]
        proxy.refuse()
        proxy.cut_all()


def test_two_services_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second is told so, and the first goes on."""
    with running(MemoryStore(), tmp_path, Options()) as (_, client):
        with pytest.raises(Refused, match="another pinning service"):
            PinningService(MemoryStore(), tmp_path, Options())
        assert 200 == client.list(status=EVERY).status
    PinningService(MemoryStore(), tmp_path, Options()).close()


@pytest.mark.parametrize(
    "options",
    [
        Options(public_url="pins.example"),
        Options(public_url="/unix/x"),
        Options(delegates=("pins.example",)),
        Options(delegates=tuple(f"/dns4/{number}/tcp/443/https" for number in range(21))),
        Options(origins=("ftp://h",)),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: Options) -> None:
    """They are told before anything is served, and nothing is left locked."""
    with pytest.raises(UsageError):
        PinningService(MemoryStore(), tmp_path, options)
    PinningService(MemoryStore(), tmp_path, Options()).close()
