"""A store over trustless HTTP gateways, for reading only: several are asked, and none is believed.

Each request goes to the gateway that seems fastest just then; one that is late gets a rival, and the first
good answer wins.  Who sends other bytes than a block's name asks for is left out for the rest of the run.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, wait
from threading import Condition, Event
from typing import TYPE_CHECKING, Final

from pinfold.errors import Corrupt, Malformed, Missing, Refused, StoreError, Unavailable, UsageError
from pinfold.ipld.cid import CID, IDENTITY
from pinfold.store.crew import Crew
from pinfold.store.gateway import host as hosts
from pinfold.store.gateway.host import Abandoned, Busy, Host, Lied
from pinfold.store.gateway.small import Small
from pinfold.store.gateway.standing import Standing
from pinfold.store.layers import NobodyListens, Unreachable, Unwritten
from pinfold.store.seam import CopyStatus, PinState, PinStatus, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from pinfold.seal.secret import Secret
    from pinfold.store.address import Address
    from pinfold.store.seam import Pin

AT_ONCE: Final = 96
_RIVALS: Final = 32
_LONGEST_WAIT: Final = 120.0
# Rivals may be one in ten requests: a gateway that is slow with all of them is not to be asked twice as much.
_FREE_RIVALS: Final = 8
_RIVAL_SHARE: Final = 10
_LASTING: Final = (Unreachable, NobodyListens)
_NO_LIST: Final = "a gateway has no list of pins"


class GatewayStore(Unwritten):
    """What gateways hold, by CID."""

    def __init__(self, address: Address, *, authorization: Secret | None = None, ca_file: Path | None = None) -> None:
        """Asks nothing yet.  `authorization`: for all gateways of the address.  Raises UsageError."""
        self._name = address.name
        told = address.options.get("root", "").split(",")
        self._roots = tuple(dict.fromkeys(_root(text) for text in told if text))
        self._hosts = {
            Host(url, authorization=authorization, ca_file=ca_file, connections=AT_ONCE): Standing(AT_ONCE)
            for url in dict.fromkeys(address.urls)
        }
        self._news = Condition()
        self._crew = Crew(AT_ONCE + _RIVALS, "pinfold-gateway")
        self._small = Small()
        self._requests = 0
        self._rivals = 0

    @property
    def name(self) -> str:
        """The address."""
        return self._name

    @property
    def at_once(self) -> int:
        """How many blocks should be asked for at the same time."""
        return AT_ONCE

    @property
    def roots(self) -> tuple[CID, ...]:
        """The snapshots it is asked about: nobody else can tell which there are."""
        return self._roots

    @property
    def warnings(self) -> list[str]:
        """Which gateways lied, and which never answered."""
        with self._news:
            books = [(host.url, book) for host, book in self._hosts.items()]
            heard = any(book.answers for _, book in books)
        lines = [f"{book.lie}; it was not asked again" for _, book in books if book.lie]
        silent = [(url, book) for url, book in books if not book.answers and book.trouble and not book.lie]
        return lines + [f"{url} never answered: {book.trouble}" for url, book in silent if heard]

    def _refusal(self) -> Refused:
        return Refused(f"{self.name} is a gateway: it can be read, and nothing else")

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """None: gateways tell of none."""
        del prefix
        return iter(())

    def status(self, root: CID) -> PinStatus:
        """Nobody knows."""
        return PinStatus(root, (CopyStatus(self.name, PinState.ABSENT, detail=_NO_LIST),))

    def usage(self) -> Usage:
        """Nothing that is known."""
        return Usage(0)

    def close(self) -> None:
        """Let go of all connections; whoever still waits gets Unavailable."""
        self._crew.close()
        for host in self._hosts:
            host.close()

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Those that a gateway says it holds.  Raises Unavailable when none answers."""
        asked = [(cid, None if cid.hash_code == IDENTITY else self._crew.submit(self._present, cid)) for cid in cids]
        return {cid for cid, future in asked if future is None or future.result()}

    def _present(self, cid: CID) -> bool:
        tried: dict[Host, StoreError] = {}
        while (host := self._chosen(tried)) is not None:
            number = self._begin(host)
            try:
                found = host.has(cid)
            except StoreError as error:
                self._ended(host, number, error)
                tried[host] = error
                continue
            self._ended(host, number, None)
            if found:
                return True
            tried[host] = Missing(cid, host.url)
        verdict = self._verdict(cid, list(tried.values()))
        if isinstance(verdict, Missing | Corrupt):
            return False
        raise verdict

    def get(self, cid: CID) -> bytes:
        """The block from whichever gateway is first to send it.

        Raises Missing when no gateway has it, Corrupt when those left all lie, Unavailable, Refused.
        """
        if cid.hash_code == IDENTITY:
            return cid.digest
        known = self._small.find(cid)
        block = self._fetch(cid) if known is None else known.result()
        if known is None:
            for child in self._small.keep(cid, block):
                self._small.expect(child, self._crew.submit(self._fetch, child))
        return block

    def _fetch(self, cid: CID) -> bytes:
        over = Event()
        try:
            return self._race(cid, over)
        finally:
            over.set()

    def _race(self, cid: CID, over: Event) -> bytes:
        tried: dict[Host, StoreError] = {}
        running: dict[Future[bytes], Host] = {}
        deadline = time.monotonic() + hosts.LONGEST + hosts.SILENCE
        late = 0.0
        while True:
            host = self._next(tried, running, late)
            if host is not None:
                number = self._begin(host)
                running[self._crew.submit(self._ask, host, number, cid, over)] = host
                late = time.monotonic() + self._hosts[host].patience()
            elif not running:
                raise self._verdict(cid, list(tried.values()))
            now = time.monotonic()
            rivals = len(self._hosts) - len(tried) > len(running)
            until = min(late, deadline) if rivals and late > now else deadline
            done, _ = wait(running, timeout=max(until - now, 0.01), return_when=FIRST_COMPLETED)
            for future in done:
                host = running.pop(future)
                error = future.exception()
                if error is None:
                    return future.result()
                if not isinstance(error, StoreError):
                    raise error
                tried[host] = error
            if not done and time.monotonic() >= deadline:
                raise Unavailable(
                    f"{self.name} did not send block {cid} in {hosts.LONGEST + hosts.SILENCE:.0f} seconds"
                )

    def _next(self, tried: dict[Host, StoreError], running: dict[Future[bytes], Host], late: float) -> Host | None:
        """Whom to ask now: somebody when nobody is asked, a rival when the answer is late."""
        if not running:
            return self._chosen(tried)
        if time.monotonic() < late or self._rivals * _RIVAL_SHARE > self._requests + _FREE_RIVALS * _RIVAL_SHARE:
            return None
        rival = self._chosen({*tried, *running.values()}, patient=False)
        self._rivals += rival is not None
        return rival

    def _ask(self, host: Host, number: int, cid: CID, over: Event) -> bytes:
        began = time.monotonic()
        try:
            block = host.fetch(cid, over.is_set)
        except Unavailable as error:
            silent = time.monotonic() - began >= hosts.SILENCE
            if silent and self._hosts[host].has_answered_since(began):
                # It answers others: this block is what it cannot find.
                self._ended(host, number, None)
                raise Missing(cid, host.url) from error
            self._ended(host, number, error)
            raise
        except StoreError as error:
            self._ended(host, number, error)
            raise
        self._ended(host, number, None)
        return block

    def _begin(self, host: Host) -> int:
        with self._news:
            self._requests += 1
            return self._hosts[host].begin(time.monotonic())

    def _ended(self, host: Host, number: int, error: StoreError | None) -> None:
        now = time.monotonic()
        with self._news:
            book = self._hosts[host]
            if isinstance(error, Abandoned):
                book.dropped(number, now)
            elif isinstance(error, Busy):
                book.failed(number, now, str(error), error.after)
            elif isinstance(error, Unavailable | Refused):
                book.failed(number, now, str(error))
            else:
                book.answered(number, now)
            if isinstance(error, Lied) and not book.lie:
                book.lie = str(error)
            self._news.notify()

    def _chosen(self, tried: Iterable[Host], *, patient: bool = True) -> Host | None:
        """The best gateway that was not tried; None when there is none, or none now unless `patient`."""
        deadline = time.monotonic() + _LONGEST_WAIT
        with self._news:
            while True:
                now = time.monotonic()
                able = {host: book for host, book in self._hosts.items() if host not in tried and not book.lie}
                free = [host for host, book in able.items() if book.takes_more(now)]
                if free:
                    return min(free, key=lambda host: self._hosts[host].cost(now))
                if not able or not patient or now >= deadline:
                    return None
                soonest = min(book.rests_until for book in able.values())
                self._news.wait(min(soonest if soonest > now else deadline, deadline) - now)

    def _verdict(self, cid: CID, errors: list[StoreError]) -> StoreError:
        """What it comes to when no gateway gave a block."""
        for kind in (Unavailable, Missing, Refused):
            alike = [error for error in errors if isinstance(error, kind)]
            if kind is Missing and alike:
                return Missing(cid, self.name)
            if alike:
                # What another attempt would meet again with every gateway stays that.
                narrow = next((one for one in _LASTING if all(isinstance(error, one) for error in alike)), kind)
                return narrow("; ".join(dict.fromkeys(map(str, alike))))
        lies = [book.lie for book in self._hosts.values() if book.lie]
        if lies:
            liars = " and ".join(host.url for host, book in self._hosts.items() if book.lie)
            return Corrupt(cid, f"{liars}, sent with other bytes than were asked for")
        return Unavailable(f"{self.name} is too busy")


def _root(text: str) -> CID:
    try:
        return CID.parse(text)
    except Malformed as error:
        raise UsageError(f"root={text} is no CID") from error
