"""An origin that holds blocks, and a service over an empty store that may fetch from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from lab.process import wait_until
from pinfold.gateway import gateway
from pinfold.pinning import Limits, Options, PinningService
from pinfold.store import MemoryStore
from pinning.served import Client, running, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENT = Options(private_origins=True, patience=20.0, limits=Limits(seconds=60))


class Origin(NamedTuple):
    """A store, and the URL of a gateway to it."""

    store: MemoryStore
    url: str


class Running(NamedTuple):
    """A service at work, its store, and a client of it."""

    service: PinningService
    store: MemoryStore
    client: Client

    def settled(self, *names: str) -> None:
        """Return once the store has just these pins."""
        wait_until(
            lambda: sorted(names) == [pin.name for pin in self.store.pins()], seconds=20, what=f"pins {sorted(names)}"
        )

    def as_token(self, **what: object) -> Client:
        """A client with another token."""
        _, secret = self.service.tokens.add("other", **what)  # type: ignore[arg-type]
        return Client(self.client.url, secret.reveal().decode())


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A gateway of our own to an empty store."""
    store = MemoryStore("origin")
    door = gateway(store)
    with served(door) as url:
        yield Origin(store, url)
    door.close()


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[Running]:
    """A service that answers a new pin when its first attempt is over."""
    store = MemoryStore("store")
    with running(store, tmp_path / "service", PATIENT) as (service, client):
        yield Running(service, store, client)
