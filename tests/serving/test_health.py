"""What is known of the store behind a server: asked seldom, told at once, in words for strangers."""

from __future__ import annotations

import ssl
import threading

from lab.process import wait_until
from pinfold.errors import PinfoldError, Refused, Unavailable
from pinfold.serving.health import Health


class Store:
    """A store that is as `error` says, or hangs until `let_go`."""

    def __init__(self, error: PinfoldError | None = None, *, hangs: bool = False) -> None:
        self.error = error
        self.hangs = hangs
        self.asked = 0
        self.let_go = threading.Event()
        self.told: list[tuple[str, str]] = []

    def check(self) -> None:
        """Answer."""
        self.asked += 1
        if self.hangs:
            self.let_go.wait(30)
        if self.error is not None:
            raise self.error

    def tell(self, reason: str, cause: str) -> None:
        """Hear of a change."""
        self.told.append((reason, cause))


def unavailable(cause: OSError) -> Unavailable:
    """As the client raises it."""
    error = Unavailable("http://secret:5001 does not answer")
    error.__cause__ = cause
    return error


def test_the_reason_has_no_address() -> None:
    """Strangers are told what failed in the system's words, and neither address nor what a server said."""
    for error, said in (
        (unavailable(ConnectionRefusedError(111, "Connection refused")), "does not answer (Connection refused)"),
        (unavailable(TimeoutError("http://secret timed out")), "does not answer (timed out)"),
        (unavailable(ssl.SSLError(1, "http://secret")), "does not answer (TLS: failed)"),
        (Unavailable("http://secret answers 500"), "does not answer (Unavailable)"),
        (Refused("http://secret: no such token"), "refuses to answer (Refused)"),
    ):
        assert f"the store {said}" == Health(Store(error).check).found()


def test_changes_are_told_once() -> None:
    """A store that becomes ill is told with its cause, and once more when it is well again."""
    store = Store()
    health = Health(store.check, store.tell, seconds=0.0)
    assert "" == health.found()
    store.error = Unavailable("http://secret:5001 is away")
    assert health.found() == health.found() != ""
    store.error = None
    wait_until(lambda: health.known() == "", what="health")
    assert [("the store does not answer (Unavailable)", "http://secret:5001 is away"), ("", "")] == store.told


def test_it_is_asked_seldom() -> None:
    """However many ask and doubt, the store is asked once in a while."""
    store = Store(Unavailable("away"))
    health = Health(store.check, seconds=60.0)
    for _ in range(20):
        health.found()
        health.known()
        health.doubt()
    assert 1 == store.asked


def test_a_hanging_store_is_ill_until_it_answers() -> None:
    """Without an answer in time it is ill, few threads hang with it, and the late answer makes it well at once."""
    store = Store(hangs=True)
    health = Health(store.check, store.tell, seconds=0.0, patience=0.05)
    assert "the store has not answered for 0.05 seconds" == health.found()
    for _ in range(20):
        health.found()
    assert 4 == store.asked
    assert health.known()
    store.let_go.set()
    wait_until(lambda: store.told[-1] == ("", ""), what="health")
    wait_until(lambda: threading.active_count() == 1 or not any(t.name == "health" for t in threading.enumerate()))
