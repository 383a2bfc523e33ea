"""DAG-CBOR: the encoding of manifests and index pages, over the library `libipld`.

The library refuses duplicate keys, indefinite lengths, trailing bytes and counts larger than the
input, and stops at about a thousand levels of nesting; here its errors become one.
Source: https://ipld.io/specs/codecs/dag-cbor/spec/.
"""

from __future__ import annotations

import libipld

from pinfold.errors import Malformed


def encode(value: object) -> bytes:
    """`value` (dict with text keys, list, int, bytes, str, bool, None) as canonical DAG-CBOR."""
    return libipld.encode_dag_cbor(value)


def decode(data: bytes, field: str) -> object:
    """What `data` says.  `field` names the format in errors.  Raises Malformed."""
    try:
        return libipld.decode_dag_cbor(data)
    except (ValueError, RecursionError, OverflowError) as error:
        raise Malformed(field, str(error).removeprefix("Failed to decode DAG-CBOR. ")) from error
