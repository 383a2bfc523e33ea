"""The name of this service among peers: clients want one behind each address, Kubo refuses a delegate without.

It is the name of a key whose secret half was thrown away: nobody, this service included, can speak under it.

Source: https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pinfold.ipld.cid import CID, IDENTITY

if TYPE_CHECKING:
    from pinfold.pinning.database import Database

_LIBP2P_KEY: Final = 0x72
# The protobuf of a public key: type 1 is Ed25519, then 32 bytes.
_ED25519: Final = b"\x08\x01\x12\x20"


def identity(database: Database) -> str:
    """The peer ID, made once, as a CID."""
    made = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    database.change("INSERT OR IGNORE INTO facts (name, value) VALUES ('peer', ?)", (made,))
    kept = database.rows("SELECT value FROM facts WHERE name = 'peer'")[0][0]
    return str(CID(1, _LIBP2P_KEY, IDENTITY, _ED25519 + kept))
