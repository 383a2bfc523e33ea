"""Content identifiers, version 0 and 1: how every block is called.

Only what pinfold meets is accepted: codecs and hash functions may be any number, digests at most
128 bytes (the bound that gateways put on identity CIDs), text in base58btc (version 0) or base32
(version 1; upper case and base36 and base58btc are read, never written).

Source: https://github.com/multiformats/cid and the multicodec table.
"""

from __future__ import annotations

import base64
import hashlib
from functools import total_ordering
from typing import Final

from pinfold.errors import Corrupt, Malformed
from pinfold.ipld import varint

RAW: Final = 0x55
DAG_PB: Final = 0x70
DAG_CBOR: Final = 0x71
SHA2_256: Final = 0x12
IDENTITY: Final = 0x00
MAX_DIGEST: Final = 128
MAX_TEXT: Final = 512
_V1_SHA256_TAIL: Final = bytes((SHA2_256, 32))
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


@total_ordering
class CID:
    """One CID.  Immutable; equal, ordered and hashed by its binary form."""

    __slots__ = ("_raw", "codec", "digest", "hash_code", "version")

    version: int
    codec: int
    hash_code: int
    digest: bytes
    _raw: bytes

    def __init__(self, version: int, codec: int, hash_code: int, digest: bytes) -> None:
        """Raises Malformed for parts that make no CID."""
        if version == 0 and (codec, hash_code, len(digest)) != (DAG_PB, SHA2_256, 32):
            raise Malformed("CID", "version 0 is always dag-pb with sha2-256")
        if version not in {0, 1}:
            raise Malformed("CID", f"version {version} is unknown")
        if len(digest) > MAX_DIGEST:
            raise Malformed("CID", f"digest of {len(digest)} bytes is longer than {MAX_DIGEST}")
        if hash_code == SHA2_256 and len(digest) != 32:
            raise Malformed("CID", f"sha2-256 digest has {len(digest)} bytes, not 32")
        multihash = varint.encode(hash_code) + varint.encode(len(digest)) + digest
        self._set(
            version, codec, hash_code, digest, multihash if version == 0 else b"\x01" + varint.encode(codec) + multihash
        )

    def _set(self, version: int, codec: int, hash_code: int, digest: bytes, raw: bytes) -> None:
        object.__setattr__(self, "version", version)
        object.__setattr__(self, "codec", codec)
        object.__setattr__(self, "hash_code", hash_code)
        object.__setattr__(self, "digest", digest)
        object.__setattr__(self, "_raw", raw)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)

    @classmethod
    def raw(cls, digest: bytes) -> CID:
        """The version 1 CID of a raw block with this sha2-256 digest."""
        return cls._sha256(RAW, digest)

    @classmethod
    def dag_pb(cls, digest: bytes) -> CID:
        """The version 1 CID of a dag-pb block with this sha2-256 digest."""
        return cls._sha256(DAG_PB, digest)

    @classmethod
    def _sha256(cls, codec: int, digest: bytes) -> CID:
        # Skips the checks of __init__: these are by far the most frequent CIDs (0.5 µs against 2.1).
        if len(digest) != 32:
            raise Malformed("CID", f"sha2-256 digest has {len(digest)} bytes, not 32")
        cid = cls.__new__(cls)
        cid._set(1, codec, SHA2_256, digest, bytes((1, codec)) + _V1_SHA256_TAIL + digest)  # noqa: SLF001  its own class
        return cid

    @classmethod
    def of(cls, codec: int, block: bytes | bytearray | memoryview) -> CID:
        """The version 1 sha2-256 CID of `block`; `codec` is RAW, DAG_PB or DAG_CBOR."""
        return cls._sha256(codec, hashlib.sha256(block).digest())

    @classmethod
    def read(cls, data: bytes | memoryview, offset: int = 0) -> tuple[CID, int]:
        """The binary CID at `offset` and the offset behind it.  Raises Malformed."""
        if bytes(data[offset : offset + 2]) == _V1_SHA256_TAIL:
            digest = bytes(data[offset + 2 : offset + 34])
            if len(digest) != 32:
                raise Malformed("CID", "digest is cut short", offset)
            return cls(0, DAG_PB, SHA2_256, digest), offset + 34
        version, at = varint.decode(data, offset, "CID version")
        if version != 1:
            raise Malformed("CID", f"version {version} is unknown", offset)
        codec, at = varint.decode(data, at, "CID codec")
        hash_code, at = varint.decode(data, at, "CID hash function")
        size, at = varint.decode(data, at, "CID digest length")
        if size > MAX_DIGEST:
            raise Malformed("CID", f"digest of {size} bytes is longer than {MAX_DIGEST}", at)
        digest = bytes(data[at : at + size])
        if len(digest) != size:
            raise Malformed("CID", "digest is cut short", at)
        return cls(1, codec, hash_code, digest), at + size

    @classmethod
    def decode(cls, data: bytes | memoryview) -> CID:
        """The binary CID that is all of `data`.  Raises Malformed."""
        cid, end = cls.read(data)
        if end != len(data):
            raise Malformed("CID", f"{len(data) - end} bytes follow it", end)
        return cid

    @classmethod
    def parse(cls, text: str) -> CID:
        """The CID written as `text`.  Raises Malformed."""
        if len(text) > MAX_TEXT or not text.isascii():
            raise Malformed("CID", "text is too long or not ASCII")
        if len(text) == 46 and text.startswith("Qm"):
            return cls._version(0, _from_digits(text, _BASE58))
        if text[:1] in {"b", "B"}:
            return cls._version(1, _from_base32(text[1:]))
        if text[:1] == "z":
            return cls._version(1, _from_digits(text[1:], _BASE58))
        if text[:1] in {"k", "K"}:
            return cls._version(1, _from_digits(text[1:].lower(), _BASE36))
        raise Malformed("CID", "it begins as no CID does")

    @classmethod
    def _version(cls, version: int, data: bytes) -> CID:
        cid = cls.decode(data)
        if cid.version != version:
            raise Malformed("CID", f"text says version {version}, bytes say {cid.version}")
        return cid

    def __bytes__(self) -> bytes:
        return self._raw

    def __str__(self) -> str:
        if self.version == 0:
            return _to_base58(self._raw)
        return "b" + base64.b32encode(self._raw).decode("ascii").rstrip("=").lower()

    def __repr__(self) -> str:
        return f"CID({self})"

    def __hash__(self) -> int:
        return hash(self._raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CID) and self._raw == other._raw

    def __lt__(self, other: CID) -> bool:
        return self._raw < other._raw

    def __reduce__(self) -> tuple[object, ...]:
        return CID.decode, (self._raw,)

    @property
    def multihash(self) -> bytes:
        """Hash function, length and digest: what a block is filed under, whatever its codec."""
        return varint.encode(self.hash_code) + varint.encode(len(self.digest)) + self.digest

    def verify(self, block: bytes | memoryview, where: str = "") -> None:
        """Raise Corrupt unless `block` hashes to this CID.

        Hash functions other than sha2-256 and identity raise Malformed: they cannot be checked.
        """
        if self.hash_code == SHA2_256:
            good = hashlib.sha256(block).digest() == self.digest
        elif self.hash_code == IDENTITY:
            good = bytes(block) == self.digest
        else:
            raise Malformed("CID", f"hash function 0x{self.hash_code:x} of {self} is not supported")
        if not good:
            raise Corrupt(self, where)


def _from_base32(text: str) -> bytes:
    if not (text.islower() or text.isupper()):
        raise Malformed("CID", "base32 mixes upper and lower case")
    upper = text.upper()
    try:
        data = base64.b32decode(upper + "=" * (-len(upper) % 8))
    except ValueError as error:
        raise Malformed("CID", "text is not base32") from error
    if base64.b32encode(data).decode("ascii").rstrip("=") != upper:
        raise Malformed("CID", "base32 has stray bits at its end")
    return data


def _from_digits(text: str, alphabet: str) -> bytes:
    value = 0
    for index, letter in enumerate(text):
        digit = alphabet.find(letter)
        if digit < 0:
            raise Malformed("CID", f"{letter!r} is not in its alphabet", index)
        value = value * len(alphabet) + digit
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return b"\0" * zeros + value.to_bytes((value.bit_length() + 7) // 8, "big")


def _to_base58(data: bytes) -> str:
    value, out = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        out = _BASE58[digit] + out
    return _BASE58[0] * (len(data) - len(data.lstrip(b"\0"))) + out
