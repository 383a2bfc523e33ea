"""Canonical JSON: one form and no other, and whatever else comes is refused with one error."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.errors import Malformed
from pinfold.seal import canonical

scalars = st.none() | st.booleans() | st.integers() | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
documents = st.dictionaries(st.text(), values)


@given(documents)
def test_documents_come_back(document: dict[str, object]) -> None:
    """What is encoded decodes to itself, and encodes to the same bytes."""
    data = canonical.encode(document)
    assert document == canonical.decode(data, "x")
    assert data == canonical.encode(canonical.decode(data, "x"))


@given(documents, st.integers(0, 1 << 16), st.binary(min_size=0, max_size=3), st.integers(0, 3))
def test_same_bytes_or_refused(document: dict[str, object], at: int, put: bytes, cut: int) -> None:
    """Changed bytes are refused, or they are the one form of another document."""
    data = canonical.encode(document)
    at %= len(data) + 1
    changed = data[:at] + put + data[at + cut :]
    try:
        found = canonical.decode(changed, "x")
    except Malformed:
        return
    assert changed == canonical.encode(found)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Bytes of any kind are refused with one error, or are a document's one form."""
    try:
        found = canonical.decode(data, "x")
    except Malformed:
        return
    assert data == canonical.encode(found)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{} ",
        b' {"a":1}',
        b'{"a": 1}',
        b'{"b":1,"a":1}',
        b'{"a":1,"a":1}',
        b'{"a":1.0e0}',
        b'{"a":1e400}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32-le"),
        b'{"a":' + b"9" * 10_000 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000,
        b'{"a":"' + b"x" * (1 << 20) + b'"}',
    ],
)
def test_other_forms(data: bytes) -> None:
    """Other spellings of the same document, other encodings, and monsters are refused."""
    with pytest.raises(Malformed):
        canonical.decode(data, "x")


def test_the_form() -> None:
    """Keys are sorted, nothing is escaped that need not be, and there are no spaces."""
    assert (
        '{"A":[1,null,true],"a":"é\\n","b":{}}'
        == canonical.encode(json.loads('{"b": {}, "a": "\\u00e9\\n", "A": [1, null, true]}')).decode()
    )


def test_take() -> None:
    """A member is of the type asked for, and true is no number."""
    document: dict[str, object] = {"n": 1, "b": True, "s": "x"}
    assert (1, "x") == (canonical.take(document, "n", int, "f"), canonical.take(document, "s", str, "f"))
    for key, kind in (("b", int), ("n", str), ("none", str), ("n", bool)):
        with pytest.raises(Malformed, match=f"malformed f: '{key}' is not a {kind.__name__}"):
            canonical.take(document, key, kind, "f")


@given(st.text(max_size=20) | st.binary(max_size=9).map(bytes.hex))
def test_unhex(text: str) -> None:
    """Hex is lower-case, of the size asked for, and spelled in one way."""
    try:
        found = canonical.unhex(text, 4, "f")
    except Malformed:
        return
    assert (4, text) == (len(found), found.hex())


def test_unbase64() -> None:
    """Base64 is strict: nothing foreign in it, and padded."""
    assert b"ab" == canonical.unbase64("YWI=", "f")
    for text in ("YWI", "YW I=", "YWI=\n", "YW-_", "é", "="):
        with pytest.raises(Malformed):
            canonical.unbase64(text, "f")
