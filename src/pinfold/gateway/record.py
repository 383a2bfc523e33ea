"""Signed IPNS records: read, checked, followed.

A record is a protobuf message around a DAG-CBOR document, signed by the key that its name is.  Only the
signature of version 2 counts; fields of version 1 must agree with it where they are there.

Source: https://specs.ipfs.tech/ipns/ipns-record/.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

from pinfold.door import BadRequest
from pinfold.errors import Malformed
from pinfold.gateway import names
from pinfold.ipld import dagcbor, protobuf
from pinfold.ipld.cid import CID

if TYPE_CHECKING:
    from pathlib import Path

    from pinfold.clock import Clock

MOST_BYTES: Final = 10 << 10
MOST_STEPS: Final = 8
_SIGNED: Final = b"ipns-signature:"
_WHAT: Final = "IPNS record"
_VALUE, _SIGNATURE1, _TYPE, _VALIDITY, _SEQUENCE, _TTL, _KEY, _SIGNATURE2, _DATA = range(1, 10)
_COPIES: Final = {_VALUE: "Value", _TYPE: "ValidityType", _VALIDITY: "Validity", _SEQUENCE: "Sequence", _TTL: "TTL"}
_KINDS: Final = {"Value": bytes, "Validity": bytes, "ValidityType": int, "Sequence": int, "TTL": int}
_TIME: Final = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_NANOS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Record:
    """A record whose signature holds: its bytes, where it points, until when, and how long it may be kept (s)."""

    raw: bytes
    value: bytes
    until: datetime
    ttl: int


def decode(raw: bytes, name: CID) -> Record:
    """Return the record of `name` that `raw` holds, its signature checked.

    Raises Malformed, and BadRequest 501 for names of other keys than Ed25519.
    """
    if len(raw) > MOST_BYTES:
        raise Malformed(_WHAT, f"{len(raw)} bytes are more than {MOST_BYTES}")
    fields: dict[int, int | bytes] = {}
    for field, wire, number, body, at in protobuf.fields(raw, _WHAT):
        if field in fields:
            raise Malformed(_WHAT, f"field {field} comes twice", at)
        fields[field] = body if wire == protobuf.BYTES else number
    data, signature = fields.get(_DATA), fields.get(_SIGNATURE2)
    if not isinstance(data, bytes) or not isinstance(signature, bytes):
        raise Malformed(_WHAT, "has no signature of version 2")
    _verify(name, data, signature)
    document = dagcbor.decode(data, _WHAT)
    if not isinstance(document, dict) or any(type(document.get(key)) is not kind for key, kind in _KINDS.items()):
        raise Malformed(_WHAT, "lacks a field, or has one of another kind")
    said = cast("dict[str, int | bytes]", document)
    if _SIGNATURE1 in fields or _VALUE in fields:
        for field, key in _COPIES.items():
            if fields.get(field, said[key] if said[key] == 0 else None) != said[key]:
                raise Malformed(_WHAT, f"{key} is not the one that was signed")
    if said["ValidityType"] != 0:
        raise Malformed(_WHAT, "is valid in a way that is not known")
    return Record(raw, cast("bytes", said["Value"]), _until(cast("bytes", said["Validity"])), _seconds(said["TTL"]))


def _verify(name: CID, data: bytes, signature: bytes) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  only gateways that hold records need it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    key = names.ed25519(name)
    if key is None:
        raise BadRequest(501, "only names that are Ed25519 keys are served here")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _SIGNED + data)
    except (InvalidSignature, ValueError):
        raise Malformed(_WHAT, f"is not signed by {names.write(name)}") from None


def _until(text: bytes) -> datetime:
    found = _TIME.fullmatch(text)
    if not found:
        raise Malformed(_WHAT, "its end is no time")
    zone = "+00:00" if found[3] == b"Z" else found[3].decode()
    try:
        return datetime.fromisoformat(found[1].decode() + (found[2] or b"").decode()[:7] + zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Malformed(_WHAT, "its end is no time") from None


def _seconds(nanos: int | bytes) -> int:
    return max(0, int(nanos)) // _NANOS


class Records:
    """The records in one folder, each in a file named NAME.ipns-record; read anew each time, so they may change."""

    def __init__(self, folder: Path | None, clock: Clock) -> None:
        """`folder`: None where there are no records."""
        self._folder = folder
        self._clock = clock

    def get(self, name: CID) -> Record:
        """Return the record of a name.  Raises BadRequest 404, 501, Malformed."""
        text = names.write(name)
        if self._folder is None:
            raise BadRequest(501, "names are not resolved here: this gateway holds no IPNS records")
        raw = _read(self._folder / f"{text}.ipns-record")
        if raw is None:
            raise BadRequest(404, f"no record of {text} is held here")
        record = decode(raw, name)
        if record.until < self._clock.now():
            raise BadRequest(404, f"the record of {text} held here ended on {record.until:%Y-%m-%d %H:%M} UTC")
        return record

    def resolve(self, name: CID) -> tuple[CID, tuple[str, ...], int]:
        """Return the root, the names behind it, and for how many seconds that holds.

        Follows names to names.  Raises as `get` does, and BadRequest 404 for a ring of names.
        """
        behind: tuple[str, ...] = ()
        seconds: int | None = None
        for _ in range(MOST_STEPS):
            record = self.get(name)
            left = int((record.until - self._clock.now()).total_seconds())
            seconds = min(left, record.ttl, left if seconds is None else seconds)
            namespace, root, more = _target(record.value)
            behind = more + behind
            if namespace == "ipfs":
                return _content(root), behind, seconds
            name = names.parse(root)
        raise BadRequest(404, f"more than {MOST_STEPS} names lead to one another")


def _target(value: bytes) -> tuple[str, str, tuple[str, ...]]:
    if not value.startswith(b"/"):
        return "ipfs", str(CID.decode(value)), ()
    try:
        parts = [part for part in value.decode().split("/") if part]
    except UnicodeDecodeError:
        parts = []
    if len(parts) < 2 or parts[0] not in {"ipfs", "ipns"} or ".." in parts:
        raise Malformed(_WHAT, "points at no content")
    return parts[0], parts[1], tuple(parts[2:])


def _content(text: str) -> CID:
    return CID.parse(text)


def _read(path: Path) -> bytes | None:
    """Return up to a little more than a record may have; None where no such file is."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(handle, MOST_BYTES + 1) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    finally:
        os.close(handle)
