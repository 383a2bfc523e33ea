"""The calls of the Pinning Service API.  Whatever a service answers, each of them ends.

Source: IPFS Pinning Service API 1.0.0, https://ipfs.github.io/pinning-services-api-spec/
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from pinfold.errors import Refused, Unavailable
from pinfold.store.client import Client, parse
from pinfold.store.pinning.records import STATUSES, record, results, same
from pinfold.store.prove import batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pinfold.errors import StoreError
    from pinfold.ipld.cid import CID
    from pinfold.seal.secret import Secret
    from pinfold.store.pinning.records import Record

MAX_PINS: Final = 1_000_000
_PAGE: Final = 1000
_MAX_ONE: Final = 1 << 20
_CIDS_AT_ONCE: Final = 10
_ALL: Final = ",".join(STATUSES)
_GONE: Final = 404


class _Service(Client):
    """A service, with the errors that its answers stand for."""

    def failure(self, status: int, text: str) -> StoreError:
        """As the client's own; a service that has no list of pins is none."""
        if status == _GONE:
            said = f"{self.url} answers {status}" + (f": {text}" if text else "")
            return Refused(f"{said}; is this a pinning service, its address without the /pins at the end?")
        return super().failure(status, text)


class Api:
    """One service.  Raises Refused, Unavailable, Full, as Client does."""

    def __init__(self, url: str, *, authorization: Secret | None, ca_file: Path | None) -> None:
        """Asks nothing yet."""
        self._client = _Service(url, authorization=authorization, ca_file=ca_file)
        self._where = self._client.url

    def add(self, root: CID, name: str, origins: Sequence[str], instead_of: str | None = None) -> Record:
        """Ask for a pin, in place of the request with the id `instead_of` where one is given."""
        pin: dict[str, Any] = {"cid": str(root), "name": name, "meta": {"app": "pinfold"}}
        if origins:
            pin["origins"] = list(origins)
        path = "/pins" if instead_of is None else f"/pins/{instead_of}"
        made = self._one("POST", path, body=json.dumps(pin).encode(), accept=(200, 201, 202))
        return self._about(root, made)

    def get(self, known: Record) -> Record | None:
        """How far a request has come; None if it is there no more."""
        with self._client.open("GET", f"/pins/{known.id}", accept=(200, _GONE)) as answer:
            text = answer.read(_MAX_ONE)
            if answer.status == _GONE:
                return None
        return self._about(known.root, record(parse(text, self._where), self._where))

    def delete(self, known: Record) -> None:
        """Drop a request; one that is there no more is no error."""
        with self._client.open("DELETE", f"/pins/{known.id}", accept=(200, 202, 204, _GONE)) as answer:
            answer.read(_MAX_ONE)

    def about(self, roots: Iterable[CID]) -> list[Record]:
        """Every request for one of these roots, whatever has become of it."""
        wanted = {same(root) for root in roots}
        found: list[Record] = []
        for some in batches(sorted(wanted), _CIDS_AT_ONCE):
            query = [("cid", ",".join(map(str, some))), ("status", _ALL)]
            # Nobody's word is taken for which CIDs these are about.
            found += [one for one in self.list(query) if one.root in some]
        return found

    def list(self, query: Sequence[tuple[str, str]]) -> Iterator[Record]:
        """Every request that answers to `query`, each once.

        Raises Refused when a service's pages do not end, or are in no order to be read page by page; Unavailable
        when it lists fewer than it told of.
        """
        seen: set[str] = set()
        told: int | None = None
        before: Record | None = None
        while True:
            more = [("before", before.created)] if before else []
            answer = self._client.json("GET", "/pins", [*query, ("limit", str(_PAGE)), *more])
            count, page = results(answer, self._where)
            told = count if told is None else told
            fresh = [one for one in page if one.id not in seen]
            seen.update(one.id for one in fresh)
            if len(seen) > MAX_PINS:
                raise Refused(f"{self._where} lists more than {MAX_PINS} pins; is it in its right mind?")
            yield from fresh
            # A service may hold its pages shorter than asked for; then its count tells that there are more.
            there_are_more = len(page) >= _PAGE or count > len(page)
            if not there_are_more or not page:
                break
            if not fresh:
                raise Refused(f"{self._where} gives the same page of pins again and again: its list cannot be read")
            before = self._oldest(page, before)
        if len(seen) < told:
            raise Unavailable(f"{self._where} told of {told} pins and listed {len(seen)}")

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _oldest(self, page: Sequence[Record], before: Record | None) -> Record:
        """The last of a page, behind which the next begins."""
        ordered = all(one.when >= other.when for one, other in pairwise(page))
        if not ordered or (before is not None and page[-1].when > before.when):
            raise Refused(
                f"{self._where} lists its pins in no order, so what is beyond {_PAGE} of them cannot be read;"
                " IPFS Cluster is better reached as cluster+http://HOST:9094"
            )
        return page[-1]

    def _one(self, method: str, path: str, **how: Any) -> Record:  # noqa: ANN401  # as Client takes them
        headers = {"Content-Type": "application/json"}
        text = self._client.call(method, path, most=_MAX_ONE, headers=headers, **how)
        return record(parse(text, self._where), self._where)

    def _about(self, root: CID, told: Record) -> Record:
        if told.root != same(root):
            raise Refused(f"{self._where} was asked for {root} and answers for {told.root}")
        return told
