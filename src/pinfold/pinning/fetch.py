"""Fetching what lies below a root from an HTTP origin into a store: only what is missing, each block checked.

A node of which no child is here is taken with all below it as one CAR; below any other node what is missing is
asked for block by block, several at a time.  So a first pin is one stream, the next of a changed tree moves its
difference, and an attempt that broke off is gone on with.  Blocks that nothing asked for are not taken.

Source: https://specs.ipfs.tech/http-gateways/trustless-gateway/
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pinfold.errors import Malformed, PinfoldError, StoreError
from pinfold.ipld import car
from pinfold.ipld.cid import RAW
from pinfold.ipld.walk import MAX_PENDING, SeenMarks, links
from pinfold.pinning.budget import Unfit, Unreached
from pinfold.store.prove import batches

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from concurrent.futures import Future

    from pinfold.ipld.cid import CID
    from pinfold.pinning.budget import Budget
    from pinfold.store.client import Answer, Client
    from pinfold.store.seam import Block, Store

MAX_BLOCK: Final = 4 << 20
AT_ONCE: Final = 8
_RAW: Final = "application/vnd.ipld.raw"
_CAR: Final = "application/vnd.ipld.car; version=1; order=dfs; dups=n"
# A stream slower than this holds a worker for nothing; a modem was faster.
_SLOWEST: Final = 4 << 10
_GRACE: Final = 30.0
# A stream is broken off and begun anew further below: until then a server can hold a worker without sending bytes.
_STREAM: Final = 120.0
_MOST_REPEATED: Final = 256 << 20


def fetch(root: CID, clients: Sequence[Client], store: Store, budget: Budget) -> None:
    """Bring everything below `root` into `store`, from each of `clients` in turn until nothing is missing.

    Raises Unreached with what each of them said, Unfit, and what the store raises.
    """
    reasons: list[str] = []
    for one in clients:
        try:
            _Fetching(one, store, budget).whole(root)
        except Unreached as error:
            budget.check()
            reasons.append(str(error))
        else:
            return
    raise Unreached("; ".join(reasons) or "nobody is known who has it: give origins that speak HTTP")


class _Fetching:
    """One attempt at one origin."""

    def __init__(self, client: Client, store: Store, budget: Budget) -> None:
        self._client = client
        self._store = store
        self._budget = budget
        self._gives_cars = True

    def whole(self, root: CID) -> None:
        """Bring what is missing at and below `root`."""
        with ThreadPoolExecutor(AT_ONCE, "pin-fetch") as pool:
            self._take(self._missing([root]), pool)
            seen = SeenMarks()
            pending = [(root, 0)]
            while pending:
                cid, depth = pending.pop()
                if cid.codec == RAW or not seen.add(cid):
                    continue
                if depth >= self._budget.limits.depth:
                    raise Unfit(f"more than {depth} links deep")
                nodes = self._below(cid, pool)
                if len(pending) + len(nodes) > MAX_PENDING:
                    raise Unfit(f"more than {MAX_PENDING} links wait at once")
                pending += [(node, depth + 1) for node in reversed(nodes)]

    def _below(self, cid: CID, pool: ThreadPoolExecutor) -> list[CID]:
        """Bring the children of a node that is here; returns those that may have children themselves."""
        self._budget.check()
        children = list(dict.fromkeys(_links(cid, self._store.get(cid))))
        missing = self._missing(children)
        if self._gives_cars and len(missing) == len(children) > 1:
            self._stream(cid)
            missing = self._missing(missing)
        self._take(missing, pool)
        return [child for child in children if child.codec != RAW]

    def _missing(self, cids: Sequence[CID]) -> list[CID]:
        found: set[CID] = set()
        for batch in batches(cids):
            found |= self._store.has(batch)
        return [cid for cid in cids if cid not in found]

    def _take(self, cids: list[CID], pool: ThreadPoolExecutor) -> None:
        """Fetch these blocks one by one, AT_ONCE at a time: no more of them are in memory.  What came is kept."""
        for batch in batches(cids, AT_ONCE):
            errors: list[PinfoldError] = []
            asked = [pool.submit(self._raw, cid) for cid in batch]
            self._store.put([one.result() for one in asked if _succeeded(one, errors)])
            if errors:
                raise errors[0]

    def _raw(self, cid: CID) -> Block:
        with self._told(), self._ask(cid, "raw", _RAW, 2 * _GRACE) as answer:
            block = answer.read(MAX_BLOCK)
            cid.verify(block, self._where)
        self._budget.spend(len(block))
        return cid, block

    def _stream(self, root: CID) -> None:
        """Take `root` and what lies below it as one CAR, as far as that goes: the rest is asked for singly.

        One that was as fast as it should be until its time was over is followed by others.
        """
        began, before = time.monotonic(), self._budget.fetched_bytes
        try:
            with closing(self._blocks(root)) as blocks:
                self._store.put(blocks)
        except (_NoCar, Unreached):
            self._budget.check()
            took = time.monotonic() - began
            self._gives_cars = took >= _STREAM and self._budget.fetched_bytes - before > took * _SLOWEST

    def _blocks(self, root: CID) -> Generator[Block, None, None]:
        expected, taken, repeated = SeenMarks(), SeenMarks(), 0
        expected.add(root)
        with self._told(), self._ask(root, "car", _CAR, _STREAM) as answer:
            if not answer.header("content-type").startswith("application/vnd.ipld.car"):
                raise _NoCar
            _, blocks = car.read_car(_Readable(answer, self._budget, self._where), max_section=MAX_BLOCK + 256)
            for cid, _, block in blocks:
                # Whatever is not asked for could be anything, without end.
                if expected.add(cid):
                    raise Unreached(f"{self._where} sends blocks that nobody asked for")
                if not taken.add(cid):
                    repeated += len(block)
                    if repeated > _MOST_REPEATED:
                        raise Unreached(f"{self._where} sends the same blocks over and over")
                    continue
                self._budget.spend(len(block))
                for child in _links(cid, block):
                    expected.add(child)
                yield cid, block

    @contextmanager
    def _ask(self, cid: CID, form: str, accept: str, within: float) -> Iterator[Answer]:
        query = [("format", form)] if form == "raw" else [("format", form), ("dag-scope", "all")]
        accepted = (200,) if form == "raw" else (200, 400, 404, 406, 415, 501)
        headers = {"Accept": accept, "User-Agent": "pinfold"}
        within = min(within, self._budget.left)
        with self._client.open("GET", f"/ipfs/{cid}", query, headers=headers, within=within, accept=accepted) as answer:
            if answer.status != 200:
                raise _NoCar
            yield answer

    @property
    def _where(self) -> str:
        return urlsplit(self._client.url).netloc

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the origin as such: those of the store must not be taken for them."""
        try:
            yield
        except (StoreError, Malformed) as error:
            said = str(error) if self._where in str(error) else f"{self._where}: {error}"
            raise Unreached(said) from error


class _NoCar(PinfoldError):
    """The origin gives no CAR of this; it may give single blocks."""


class _Readable:
    """An answer as a file to be read forward, at no less than a least speed."""

    def __init__(self, answer: Answer, budget: Budget, where: str) -> None:
        self._pieces = answer.pieces()
        self._budget = budget
        self._where = where
        self._rest = memoryview(b"")
        self._began = time.monotonic()
        self._taken = 0

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
            self._taken += len(self._rest)
            self._budget.check()
            took = time.monotonic() - self._began
            if took > _GRACE and self._taken < took * _SLOWEST:
                raise Unreached(f"{self._where} sends too slowly")
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)


def _succeeded(asked: Future[Block], errors: list[PinfoldError]) -> bool:
    """Whether a block came; if not, why is added to `errors`."""
    error = asked.exception()
    if error is None:
        return True
    if not isinstance(error, PinfoldError):
        raise error
    errors.append(error)
    return False


def _links(cid: CID, block: bytes) -> list[CID]:
    try:
        return links(cid, block)
    except Malformed as error:
        raise Unfit(f"{cid} cannot be pinned: {error}") from error
