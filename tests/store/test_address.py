"""Addresses of far stores: what they name, and what is refused without repeating a secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.errors import UsageError
from pinfold.store.address import Address, meant, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/srv/vault", None),
        ("file:///srv/vault", None),
        ("a+b", None),
        ("kubo+http://127.0.0.1:5001/", Address("kubo", ("http://127.0.0.1:5001",))),
        ("kubo+https://h/base/?network=30", Address("kubo", ("https://h/base",), {"network": "30"})),
        ("cluster+http://a:1,cluster+http://b:2", Address("cluster", ("http://a:1", "http://b:2"))),
        ("KUBO+HTTP://Host:5001/Path", Address("kubo", ("http://Host:5001/Path",))),
        ("Cluster+Https://a,HTTP://b,CLUSTER+HTTP://c", Address("cluster", ("https://a", "http://b", "http://c"))),
        ("gateway+https://a,https://[::1]:8080", Address("gateway", ("https://a", "https://[::1]:8080"))),
    ],
)
def test_what_an_address_names(text: str, expected: Address | None) -> None:
    """An address names a kind, the URLs of its servers and options; everything else is a folder."""
    assert expected == parse(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://bucket", "s3:// is no kind of store"),
        ("kubo+ftp://h", "is kubo\\+http://HOST:PORT"),
        ("kubo+http://", "is kubo\\+http://HOST:PORT"),
        ("kubo+http://h:99999", "is kubo\\+http://HOST:PORT"),
        ("kubo+http://[::1", "is kubo\\+http://HOST:PORT"),
        ("kubo+http://h?speed=1", "there is no option 'speed'"),
        ("kubo+http://me:hunter2@h", "an address holds no name and password"),
    ],
)
def test_what_is_refused(text: str, told: str) -> None:
    """An address that makes no sense is refused with the reason, and a password in it is not repeated."""
    with pytest.raises(UsageError, match=told) as refused:
        parse(text)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("written", "seconds"), [("", 7.0), ("?wait=0", 0.0), ("?wait=1.5", 1.5)])
def test_times(written: str, seconds: float) -> None:
    """An option that is a time is read as seconds, and has a default."""
    address = parse(f"cluster+http://h{written}")
    assert address is not None
    assert seconds == address.seconds("wait", 7.0)


@pytest.mark.parametrize("written", ["soon", "-3", "nan", "1e99", ""])
def test_times_that_make_no_sense(written: str) -> None:
    """A time that is none is refused."""
    address = parse(f"cluster+http://h?wait={written}")
    assert address is not None
    with pytest.raises(UsageError, match="is no number that makes sense"):
        address.seconds("wait", 7.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:5001", "kubo+http://127.0.0.1:5001"),
        ("localhost:9094/", "cluster+http://localhost:9094"),
        ("gw.example:8080", "gateway+http://gw.example:8080"),
        ("[::1]:5001", "kubo+http://[::1]:5001"),
        ("/ip4/127.0.0.1/tcp/5001", "kubo+http://127.0.0.1:5001"),
        ("/ip6/::1/tcp/5001/http", "kubo+http://[::1]:5001"),
        ("/dns4/node.example/tcp/9094", "cluster+http://node.example:9094"),
        ("/srv/vault", None),
        ("vault", None),
        ("./127.0.0.1:5001", None),
        ("C:/vault", None),
    ],
)
def test_what_was_probably_meant(text: str, expected: str | None) -> None:
    """A host with a port, and a multiaddress, become the address of the store that listens there."""
    assert expected == meant(text)


@given(st.text(max_size=40), st.sampled_from(["kubo+http://", "cluster+https://", "gateway+http://", ""]))
def test_any_text(rest: str, kind: str) -> None:
    """Whatever is written, it is a folder, an address, or refused as a mistake of whoever wrote it."""
    try:
        address = parse(kind + rest)
    except UsageError:
        return
    assert address is None or (address.urls and all(url.startswith("http") for url in address.urls))
