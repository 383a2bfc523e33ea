"""Nobody stops the others: not a database that is locked or slow, not requests in heaps, not pins that are stuck."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from lab.liar import Answer, Liar
from lab.lies import RAW as RAW_TYPE
from lab.lies import drip, refuses
from lab.process import wait_until
from pinfold.door import Request as Call
from pinfold.errors import Unavailable
from pinfold.ipld.cid import CID, IDENTITY, RAW
from pinfold.pinning import Database, Limits, Options, PinningService
from pinfold.store import MemoryStore
from pinning.served import EVERY, Client, running
from store.dags import Dag, folder, noise, raw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.liar import Request

HERE = CID(1, RAW, IDENTITY, b"here")
ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another process, or what is as good as one, holds the database for itself."""
    with closing(sqlite3.connect(folder / "pinning.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def tenant(service: PinningService, client: Client, name: str) -> Client:
    """A client of this tenant."""
    _, secret = service.tokens.add(name, tenant=name)
    return Client(client.url, secret.reveal().decode())


def test_a_locked_database_stops_no_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else writes, lists and figures come at once; what would write says when to come again."""
    monkeypatch.setattr("pinfold.pinning.database.PATIENCE", 0.3)
    with running(MemoryStore(), tmp_path, Options(patience=20.0)) as (service, client):
        client.add(HERE)
        with locked(tmp_path):
            assert 1 == client.list().document["count"]
            assert 1 == service.counts()["pinned"]
            headers = {"authorization": f"Bearer {client.token}"}
            answer = service(Call("POST", "/pins", (), headers, b'{"cid": "%b"}' % str(HERE).encode()))
            assert (503, "5") == (answer.status, dict(answer.headers)["Retry-After"])
        wait_until(lambda: client.add(HERE).status == 202, what="the service to go on")


def test_what_came_of_an_attempt_is_written_down_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A pin whose end could not be written while the database was locked does not stay under way."""
    monkeypatch.setattr("pinfold.pinning.database.PATIENCE", 0.1)
    cid, _ = raw(b"slow")
    asked, lock = threading.Event(), threading.Event()
    with running(MemoryStore(), tmp_path, Options(patience=0.0, private_origins=True)) as (_, client), Liar() as liar:

        def none(request: Request) -> Answer:
            asked.set()
            lock.wait()
            return refuses(404)(request)

        liar.lie(str(cid), none)
        told = client.add(cid, origins=[liar.url]).document
        assert asked.wait(20)
        with locked(tmp_path):
            lock.set()
            wait_until(lambda: "cannot be written down" in caplog.text, what="the attempt to write")
            assert "pinning" == client.get(told["requestid"]).document["status"]
        wait_until(lambda: client.get(told["requestid"]).document["status"] == "queued", what="its end")


def test_a_slow_question_ends_and_stops_no_other(tmp_path: Path) -> None:
    """One that takes longer than it may is given up, and others are answered meanwhile."""
    with closing(Database(tmp_path)) as database:
        errors: list[Unavailable] = []

        def ask() -> None:
            with pytest.raises(Unavailable) as told:
                database.rows(ENDLESS, within=1.0)
            errors.append(told.value)

        asking = threading.Thread(target=ask)
        asking.start()
        assert [(1,)] == database.rows("SELECT 1")
        assert 0 == database.change("DELETE FROM tokens")
        assert ([], True) == (errors, asking.is_alive())
        asking.join()
        assert 1 == len(errors)
        assert [(1,)] == database.rows("SELECT 1", within=60.0)


def test_a_closed_database_says_so(tmp_path: Path) -> None:
    """Whoever comes late gets an error of ours, and figures are those last known."""
    with running(MemoryStore(), tmp_path, Options(patience=20.0)) as (service, client):
        client.add(HERE)
        known = service.counts()
    assert 1 == known["pinned"]
    assert known == service.counts()
    with pytest.raises(Unavailable):
        service.tokens.list()


def test_so_many_requests_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight requests may wait for a slow database; a ninth is told at once to come again."""
    monkeypatch.setattr("pinfold.pinning.database.PATIENCE", 60.0)
    with running(MemoryStore(), tmp_path, Options(patience=0.0)) as (_, client):
        answers: list[int] = []

        def add() -> None:
            status = 503
            while status == 503:  # the question below may have taken the last place for a moment
                status = client.add(HERE).status
            answers.append(status)

        threads = [threading.Thread(target=add) for _ in range(8)]
        with locked(tmp_path):
            for thread in threads:
                thread.start()
            wait_until(lambda: client.list().status == 503, what="all eight to be at it")
            assert [] == answers
        for thread in threads:
            thread.join()
        assert [202] * 8 == answers
        assert 8 == client.list(status=EVERY).document["count"]


def test_stuck_pins_of_many_do_not_stop_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pins two tenants have waiting, the next free worker is for the third."""
    monkeypatch.setattr("pinfold.pinning.fetch._GRACE", 0.5)
    options = Options(workers=2, patience=0.0, private_origins=True)
    with running(MemoryStore(), tmp_path, options) as (service, client), Liar() as liar:
        liar.lie("", drip(bytes(10_000)))
        alice, bob = (tenant(service, client, name) for name in ("alice", "bob"))
        for number in range(20):
            for one in (alice, bob):
                one.add(raw(b"%d of %d" % (number, id(one)))[0], origins=[liar.url])
        wait_until(lambda: len(liar.asked) >= 2, what="both to be at it")
        client.add(HERE)
        wait_until(lambda: client.list().document["count"] == 1, seconds=20, what="the third's pin")
        assert len(liar.asked) < 20


def slowly(dag: Dag, hurry: threading.Event) -> Liar:
    """An origin that gives single blocks, each after a while, until it is told to hurry."""
    blocks = {str(cid): block for cid, block in dag.blocks}

    def answer(request: Request) -> Answer:
        hurry.wait(0.1)
        block = blocks[request.path.rpartition("/")[2]]
        return Answer(200, RAW_TYPE, [block], len(block))

    liar = Liar()
    liar.lie("format=raw", answer)
    return liar


def test_a_long_pin_takes_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes on and on leaves its worker to a tenant that has none, and is brought to its end afterwards."""
    monkeypatch.setattr("pinfold.pinning.budget._LOOK", 0.1)
    dag, hurry, store = folder(noise(1, 600, 100)), threading.Event(), MemoryStore()
    options = Options(workers=1, patience=0.0, private_origins=True, limits=Limits(turn=0.2, seconds=60))
    with running(store, tmp_path, options) as (service, client), slowly(dag, hurry) as liar:
        alice = tenant(service, client, "alice")
        long = alice.add(dag.root, origins=[liar.url]).document["requestid"]
        wait_until(lambda: len(liar.asked) > 8, what="the long one to be at it")
        client.add(HERE)
        wait_until(lambda: client.list().document["count"] == 1, seconds=20, what="the short one")
        told = alice.get(long).document
        assert told["status"] in {"queued", "pinning"}
        assert "attempts" not in told.get("info", {})
        hurry.set()
        wait_until(lambda: alice.get(long).document["status"] == "pinned", seconds=30, what="the long one")
    assert all(block == store.get(cid) for cid, block in dag.blocks)
