"""A client of gateways that takes answers as they are, broken ones too, and trusts nothing."""

from __future__ import annotations

import http.client
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from pinfold.errors import Malformed
from pinfold.ipld import CID, car

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 30


@dataclass(frozen=True)
class Answer:
    """An answer.  `broken`: the connection ended before the body did."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    broken: bool = False

    def header(self, name: str) -> str:
        """Return a header, empty where there is none."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")

    @property
    def car(self) -> list[CID]:
        """The CIDs of the CAR in order, each block checked.  Raises Malformed for one cut short."""
        _, found = car.read_car(io.BytesIO(self.body))
        return [block.cid for block in found]

    @property
    def car_begun(self) -> list[CID]:
        """The CIDs of the whole sections of a CAR that may be cut short."""
        cids: list[CID] = []
        _, found = car.read_car(io.BytesIO(self.body))
        try:
            cids.extend(block.cid for block in found)
        except Malformed:
            return cids
        return cids


def ask(url: str, path: str, method: str = "GET", query: Mapping[str, str] | None = None, **headers: str) -> Answer:
    """Ask for `path` (quoted here) at `url`; headers are named with _ for -."""
    target = quote(path) + ("?" + urlencode(query) if query else "")
    return ask_raw(url, target, method, {name.replace("_", "-"): value for name, value in headers.items()})


def ask_raw(url: str, target: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
    """Ask for a target exactly as it is written."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=SECONDS)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        broken = False
        try:
            body = answer.read()
        except http.client.IncompleteRead as cut:
            body, broken = cut.partial, True
        except OSError:
            body, broken = b"", True
        together: dict[str, str] = {}
        for name, value in answer.getheaders():
            together[name] = f"{together[name]}, {value}" if name in together else value
        return Answer(answer.status, together, body, broken)
    finally:
        connection.close()
