"""Requests and what becomes of them: fetched, proved, pinned, told; and dropped again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pinfold.ipld.cid import CID, IDENTITY, RAW
from pinfold.store import Pin
from pinning.served import EVERY
from store.dags import Dag, folder, noise, raw, shapes, trie

if TYPE_CHECKING:
    from pinning.conftest import Origin, Running


def offered(origin: Origin, dag: Dag) -> Dag:
    """A DAG that the origin has."""
    origin.store.put(dag.blocks)
    return dag


@pytest.mark.parametrize("shape", shapes())
def test_a_pin_is_fetched_and_kept(at_work: Running, origin: Origin, shape: str) -> None:
    """What an origin has is brought here whole, pinned under its name, and told as pinned."""
    dag = offered(origin, shapes()[shape])
    answer = at_work.client.add(dag.root, name="a/b", origins=[origin.url], meta={"k": "v"})
    assert (202, "pinned") == (answer.status, answer.document["status"])
    assert {"cid": str(dag.root), "name": "a/b", "origins": [origin.url], "meta": {"k": "v"}} == answer.document["pin"]
    assert [Pin(dag.root, "a/b")] == list(at_work.store.pins())
    assert all(block == at_work.store.get(cid) for cid, block in dag.blocks)
    assert answer.document == at_work.client.get(answer.document["requestid"]).document


def test_what_is_here_needs_no_origin(at_work: Running) -> None:
    """Blocks that the store holds are proved and pinned without asking anybody."""
    dag = trie(1)
    at_work.store.put(dag.blocks)
    assert "pinned" == at_work.client.add(dag.root).document["status"]
    at_work.settled(f"pinning/{dag.root}")


def test_a_cid_that_carries_its_bytes(at_work: Running) -> None:
    """There is nothing to fetch."""
    assert "pinned" == at_work.client.add(CID(1, RAW, IDENTITY, b"here")).document["status"]


def test_what_nobody_has_is_never_told_as_pinned(at_work: Running, origin: Origin) -> None:
    """It stays queued, says why, and is not in the list of what is pinned."""
    cid, _ = raw(b"nobody has this")
    for origins in ([], [origin.url]):
        told = at_work.client.add(cid, origins=origins).document
        assert "queued" == told["status"]
        assert told["info"]["status_details"]
    assert 0 == at_work.client.list().document["count"]
    assert 2 == at_work.client.list(status=EVERY).document["count"]
    assert [] == list(at_work.store.pins())


def test_one_missing_block_is_one_too_few(at_work: Running, origin: Origin) -> None:
    """A DAG of which one leaf cannot be had is not pinned; when it can, it is."""
    dag = trie(2)
    lost = dag.leaves[7]
    origin.store.put(block for block in dag.blocks if block[0] != lost)
    told = at_work.client.add(dag.root, origins=[origin.url]).document
    assert "queued" == told["status"]
    assert [] == list(at_work.store.pins())
    origin.store.put(block for block in dag.blocks if block[0] == lost)
    assert "pinned" == at_work.client.replace(told["requestid"], dag.root, origins=[origin.url]).document["status"]


def test_dropping_a_request_unpins(at_work: Running, origin: Origin) -> None:
    """The last request for a root takes its pin along, others leave it; names follow who is left."""
    dag = offered(origin, trie(3))
    first = at_work.client.add(dag.root, name="one", origins=[origin.url]).document
    second = at_work.client.add(dag.root, name="two").document
    assert first["requestid"] != second["requestid"]
    assert first["created"] < second["created"]
    at_work.settled("one")
    answer = at_work.client.delete(first["requestid"])
    assert (202, None) == answer
    at_work.settled("two")
    assert 404 == at_work.client.get(first["requestid"]).status
    at_work.client.delete(second["requestid"])
    at_work.settled()
    assert 404 == at_work.client.delete(second["requestid"]).status


def test_a_waiting_request_can_be_dropped(at_work: Running) -> None:
    """What was never pinned leaves nothing behind."""
    told = at_work.client.add(raw(b"nobody has this")[0]).document
    assert 202 == at_work.client.delete(told["requestid"]).status
    assert 0 == at_work.client.list(status=EVERY).document["count"]


def test_a_replaced_pin_goes_when_the_new_one_is_pinned(at_work: Running, origin: Origin) -> None:
    """The old request is gone at once, its content only when the new one's is here, however often that changes."""
    old, new = offered(origin, trie(4)), offered(origin, trie(5))
    first = at_work.client.add(old.root, name="old", origins=[origin.url]).document
    never = at_work.client.replace(first["requestid"], raw(b"nobody has this")[0], name="never").document
    assert 404 == at_work.client.get(first["requestid"]).status
    assert "queued" == never["status"]
    at_work.settled("old")
    again = at_work.client.replace(never["requestid"], raw(b"nor this")[0], name="again").document
    at_work.settled("old")
    last = at_work.client.replace(again["requestid"], new.root, name="new", origins=[origin.url])
    assert (202, "pinned") == (last.status, last.document["status"])
    at_work.settled("new")
    assert 1 == at_work.client.list(status=EVERY).document["count"]


def test_replacing_by_the_same_renames(at_work: Running, origin: Origin) -> None:
    """The same content under another name is never unpinned in between."""
    dag = offered(origin, trie(6))
    first = at_work.client.add(dag.root, name="old", origins=[origin.url]).document
    second = at_work.client.replace(first["requestid"], dag.root, name="new").document
    assert (True, "pinned") == (first["requestid"] != second["requestid"], second["status"])
    at_work.settled("new")


def test_what_others_pinned_is_theirs(at_work: Running) -> None:
    """A root that was pinned in the store by somebody else is neither renamed nor unpinned by requests."""
    dag = folder(noise(7, 3))
    at_work.store.put(dag.blocks)
    at_work.store.pin(dag.root, "theirs")
    told = at_work.client.add(dag.root, name="mine").document
    assert "pinned" == told["status"]
    at_work.client.delete(told["requestid"])
    other = at_work.client.add(raw(b"")[0]).document
    at_work.store.put([raw(b"")])
    at_work.client.replace(other["requestid"], raw(b"")[0], name="empty")
    at_work.settled("empty", "theirs")


def test_tenants_do_not_see_each_other(at_work: Running, origin: Origin) -> None:
    """Another's requests are not listed, not found, not dropped; and one content is kept for both."""
    dag = offered(origin, trie(8))
    mine = at_work.client.add(dag.root, name="mine", origins=[origin.url]).document
    alice = at_work.as_token(tenant="alice")
    assert 0 == alice.list(status=EVERY).document["count"]
    assert [404] * 3 == [
        alice.get(mine["requestid"]).status,
        alice.delete(mine["requestid"]).status,
        alice.replace(mine["requestid"], dag.root).status,
    ]
    assert "pinned" == alice.add(dag.root, name="hers").document["status"]
    at_work.settled("mine")
    at_work.client.delete(mine["requestid"])
    at_work.settled("hers")


def test_tokens_of_one_tenant_share(at_work: Running, origin: Origin) -> None:
    """What one device pinned the other sees, and may do what its own token says."""
    told = at_work.client.add(offered(origin, trie(9)).root, origins=[origin.url]).document
    reader = at_work.as_token(scopes=["read"])
    assert told == reader.get(told["requestid"]).document
    assert [403, 403, 403] == [
        reader.add(trie(9).root).status,
        reader.replace(told["requestid"], trie(9).root).status,
        reader.delete(told["requestid"]).status,
    ]
    agent = at_work.as_token(scopes=["add"])
    assert [403, 403, 403] == [
        agent.list().status,
        agent.delete(told["requestid"]).status,
        agent.replace(told["requestid"], trie(9).root).status,
    ]
    assert 202 == agent.add(trie(9).root).status


def test_failures_are_documents(at_work: Running) -> None:
    """Each has a reason for machines and details for people."""
    client = at_work.client
    cid = str(raw(b"")[0])
    answers = [
        (400, "BAD_REQUEST", client.call("POST", "/pins", {"cid": "none"})),
        (400, "BAD_REQUEST", client.call("POST", "/pins", {"cid": cid, "origins": ["ftp://h"]})),
        (404, "NOT_FOUND", client.get("none")),
        (404, "NOT_FOUND", client.call("GET", "/other")),
        (404, "NOT_FOUND", client.call("GET", "/pins/a/b")),
        (405, "METHOD_NOT_ALLOWED", client.call("PUT", "/pins")),
        (405, "METHOD_NOT_ALLOWED", client.call("DELETE", "/pins")),
        (413, "CONTENT_TOO_LARGE", client.call("POST", "/pins", {"cid": cid, "name": "x" * 200_000})),
        (401, "UNAUTHORIZED", type(client)(client.url, None).call("PUT", "/pins")),
        (401, "UNAUTHORIZED", type(client)(client.url, "x" * 5000).list()),
    ]
    for status, reason, answer in answers:
        assert (status, reason) == (answer.status, answer.document["error"]["reason"])
        assert answer.document["error"]["details"]


def test_created_is_unique_and_grows(at_work: Running) -> None:
    """Every request has a time of its own, later than all before, also of those that are gone."""
    times = []
    for number in range(20):
        told = at_work.client.add(CID(1, RAW, IDENTITY, bytes([number]))).document
        times.append(told["created"])
        at_work.client.delete(told["requestid"])
    assert sorted(set(times)) == times
