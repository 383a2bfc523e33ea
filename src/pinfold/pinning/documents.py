"""The JSON that comes in and goes out: pin objects, pin statuses, failures.  All that comes in is bounded.

Source: IPFS Pinning Service API 1.0.0, schemas Pin, PinStatus, Failure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pinfold.door import BadRequest, Response
from pinfold.errors import Malformed
from pinfold.ipld.cid import CID, DAG_PB, IDENTITY, RAW, SHA2_256

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BODY: Final = 128 << 10
MAX_NAME: Final = 255
MAX_ORIGINS: Final = 20
MAX_ORIGIN: Final = 1024
MAX_META: Final = 1000
MAX_META_BYTES: Final = 32 << 10
_REASONS: Final = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "INSUFFICIENT_FUNDS",
    413: "CONTENT_TOO_LARGE",
    503: "SERVICE_UNAVAILABLE",
    507: "INSUFFICIENT_STORAGE",
}
# What a store can take for a name without turning it into another: parts of a path, none of them special.
_MAX_PART: Final = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """A pin object as it was sent, checked.  `root`: its CID, always as version 1."""

    cid: str
    root: CID
    name: str | None = None
    origins: tuple[str, ...] = ()
    meta: Mapping[str, str] | None = None

    @property
    def label(self) -> str:
        """The name of its pin in the store."""
        parts = (self.name or "").split("/")
        fit = all(part.isprintable() and part.strip(". ") and len(part.encode()) <= _MAX_PART for part in parts)
        return self.name if fit and self.name else f"pinning/{self.root}"


def root_of(text: str) -> CID:
    """The CID written as `text`, as version 1.  Raises BadRequest for what cannot be pinned here."""
    try:
        cid = CID.parse(text)
    except Malformed as error:
        raise BadRequest(400, f"cid: {error.reason}") from error
    if cid.codec not in {RAW, DAG_PB} or cid.hash_code not in {SHA2_256, IDENTITY}:
        raise BadRequest(400, f"cid: {cid} cannot be checked here; raw and dag-pb under sha2-256 can")
    return CID(1, cid.codec, cid.hash_code, cid.digest)


def wanted(body: bytes) -> Wanted:
    """The pin object in the body of a request.  Raises BadRequest."""
    if len(body) > MAX_BODY:
        raise BadRequest(413, f"a pin object takes at most {MAX_BODY} bytes")
    given = _object(body, "the body")
    cid = given.get("cid")
    if not isinstance(cid, str):
        raise BadRequest(400, "cid: is missing, or no text")
    return Wanted(cid, root_of(cid), _name(given.get("name")), _origins(given.get("origins")), meta(given.get("meta")))


def meta(given: object) -> dict[str, str]:
    """Metadata: an object of texts.  Raises BadRequest."""
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise BadRequest(400, "meta: is no object whose values are texts")
    if len(given) > MAX_META or len(json.dumps(given)) > MAX_META_BYTES:
        raise BadRequest(400, f"meta: more than {MAX_META} keys, or {MAX_META_BYTES} bytes in all")
    for text in (*given, *given.values()):
        _encodable(text, "meta")
    return given


def parse_meta(text: str) -> dict[str, str]:
    """Metadata in a query.  Raises BadRequest."""
    return meta(_object(text.encode("utf-8", "surrogatepass"), "meta"))


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(400, f"{what} is no JSON") from error
    if not isinstance(given, dict):
        raise BadRequest(400, f"{what} is no JSON object")
    return given


def _name(given: object) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or len(given) > MAX_NAME:
        raise BadRequest(400, f"name: is no text of at most {MAX_NAME} letters")
    return _encodable(given, "name")


def _origins(given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > MAX_ORIGINS:
        raise BadRequest(400, f"origins: is no list of at most {MAX_ORIGINS} addresses")
    for origin in given:
        if not isinstance(origin, str) or not origin.isprintable() or not 0 < len(origin) <= MAX_ORIGIN:
            raise BadRequest(400, f"origins: an address is a text of at most {MAX_ORIGIN} letters")
    return tuple(dict.fromkeys(given))


def _encodable(text: str, what: str) -> str:
    """Halves of surrogate pairs can be written in JSON, but are no text; NUL ends texts where we look for parts."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRequest(400, f"{what}: is no valid Unicode") from error
    if "\0" in text:
        raise BadRequest(400, f"{what}: has a NUL in it")
    return text


def answer(status: int, document: object, *headers: tuple[str, str]) -> Response:
    """A response of JSON."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store"), *headers], body)


def failure(status: int, details: str) -> Response:
    """The answer to a request that failed; `details`: one line for people."""
    headers = {401: [("WWW-Authenticate", 'Bearer realm="pins"')], 503: [("Retry-After", "5")]}.get(status, [])
    reason = _REASONS.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_SERVER_ERROR")
    return answer(status, {"error": {"reason": reason, "details": details}}, *headers)
