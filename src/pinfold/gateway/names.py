"""IPNS names: the hash of a public key, or a short key itself, as text.

Read in every form there is (CIDs of codec libp2p-key, bare multihashes in base58), written in the one that Kubo
writes: a CID in base36, which begins with k.

Source: https://specs.ipfs.tech/ipns/ipns-record/#ipns-name.
"""

from __future__ import annotations

from typing import Final

from pinfold.door import BadRequest
from pinfold.errors import Malformed
from pinfold.ipld import varint
from pinfold.ipld.cid import CID, DAG_PB, IDENTITY

LIBP2P_KEY: Final = 0x72
_BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MOST_BASE58: Final = 64
# The key as protobuf: type Ed25519, then 32 bytes.
_ED25519: Final = b"\x08\x01\x12\x20"


def parse(text: str) -> CID:
    """Return the CID of an IPNS name.  Raises BadRequest 400; 501 for the names of DNSLink."""
    if "." in text:
        raise BadRequest(501, "names of DNS (DNSLink) are not resolved here")
    try:
        if text.startswith(("1", "Qm")) and len(text) <= _MOST_BASE58:
            return _from_multihash(text)
        cid = CID.parse(text)
    except Malformed:
        raise BadRequest(400, f"{text[:80]!r} is no IPNS name") from None
    # dag-pb was the codec of names before libp2p-key was.
    if cid.codec not in {LIBP2P_KEY, DAG_PB}:
        raise BadRequest(400, f"{text[:80]!r} is the CID of content, not a name: look below /ipfs/")
    return CID(1, LIBP2P_KEY, cid.hash_code, cid.digest)


def write(name: CID) -> str:
    """Return the text of a name."""
    value, out = int.from_bytes(bytes(name), "big"), ""
    while value:
        value, digit = divmod(value, len(_BASE36))
        out = _BASE36[digit] + out
    return "k" + out


def ed25519(name: CID) -> bytes | None:
    """Return the Ed25519 public key that a name holds; None for names of other keys."""
    key = name.digest
    if name.hash_code == IDENTITY and len(key) == len(_ED25519) + 32 and key.startswith(_ED25519):
        return key[len(_ED25519) :]
    return None


def _from_multihash(text: str) -> CID:
    value = 0
    for letter in text:
        digit = _BASE58.find(letter)
        if digit < 0:
            raise Malformed("IPNS name", f"{letter!r} is no letter of base58")
        value = value * len(_BASE58) + digit
    zeros = len(text) - len(text.lstrip(_BASE58[0]))
    data = b"\0" * zeros + value.to_bytes((value.bit_length() + 7) // 8, "big")
    code, at = varint.decode(data, 0, "IPNS name")
    length, at = varint.decode(data, at, "IPNS name")
    if length != len(data) - at:
        raise Malformed("IPNS name", "is cut short")
    return CID(1, LIBP2P_KEY, code, data[at:])
