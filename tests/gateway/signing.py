"""IPNS records signed as the specification says, right or wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pinfold.gateway import names
from pinfold.ipld import CID, dagcbor, varint

END = "2099-01-01T00:00:00Z"
KEY = b"\x08\x01\x12\x20"


@dataclass
class Signer:
    """A key with a name."""

    secret: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def name(self) -> CID:
        """The name of the key."""
        return CID(1, names.LIBP2P_KEY, 0, KEY + self.secret.public_key().public_bytes_raw())

    @property
    def text(self) -> str:
        """The name as Kubo writes it."""
        return names.write(self.name)

    def record(
        self,
        value: bytes,
        until: str = END,
        *,
        minutes: int = 5,
        first: bool = False,
        **said: object,
    ) -> bytes:
        """Sign a record; `first`: with the fields of version 1; `said` overrides what the document says."""
        document = {
            "Value": value,
            "Validity": until.encode(),
            "ValidityType": 0,
            "Sequence": 1,
            "TTL": minutes * 60 * 10**9,
        }
        data = dagcbor.encode(document | said)
        fields = [(8, self.secret.sign(b"ipns-signature:" + data)), (9, data)]
        if first:
            fields = [(1, value), (2, b"signed"), (4, until.encode()), *fields]
        body = b"".join(varint.encode(number << 3 | 2) + varint.encode(len(one)) + one for number, one in fields)
        numbers = ((5, 1), (6, minutes * 60 * 10**9)) if first else ()
        return b"".join(varint.encode(number << 3) + varint.encode(one) for number, one in numbers) + body
