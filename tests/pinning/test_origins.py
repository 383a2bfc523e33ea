"""Where a service lets itself be sent."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from lab.liar import Liar
from lab.lies import says
from pinfold.errors import Unavailable
from pinfold.pinning import origins

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("https://h", "https://h"),
        ("https://h:8443/base/", "https://h:8443/base"),
        ("/dns4/h/tcp/443/https", "https://h:443"),
        ("/dns/h/tcp/443/tls/http", "https://h:443"),
        ("/dns6/h/tcp/443/tls/sni/h/http/p2p/12D3", "https://h:443"),
        ("/ip4/192.0.2.1/tcp/80/http", "http://192.0.2.1:80"),
        ("/ip6/2001:db8::1/tcp/80/http", "http://[2001:db8::1]:80"),
        ("/dns4/h/tcp/443/https/http-path/a%2Fb", "https://h:443/a/b"),
        ("/dns4/h/tcp/443/https/p2p/12D3", "https://h:443"),
    ],
)
def test_http_origins(origin: str, url: str) -> None:
    """URLs and multiaddresses of HTTP servers are where to go."""
    assert url == origins.url_of(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "/p2p/12D3",
        "/ip4/192.0.2.1/tcp/4001/p2p/12D3",
        "/ip4/192.0.2.1/udp/4001/quic-v1",
        "/dns4/h/tcp/443",
        "/dns4/h/tcp/443/wss",
        "/unix/socket/http",
        "/dns4/h/tcp/x/http",
        "/dns4/h/tcp/99999/http",
        "/",
        "//",
    ],
)
def test_other_peers_are_passed_over(origin: str) -> None:
    """Addresses of libp2p, and half ones, are nobody's mistake and of no use."""
    assert ([], []) == origins.usable([origin], private=False)


@pytest.mark.parametrize(
    "origin",
    [
        "ftp://h",
        "https://",
        "h",
        "https://u:p@h",
        "https://h?x",
        "https://h#x",
        "https://h:x",
        "https://h:0",
        "/dns4/h/tcp/0/https",
        "/ip4/1.2.3.4/tcp/80/http/http-path/%0d%0aEvil: x",
        "https://h/a\nb",
        "https://h/a b",
        "https://127.0.0.1\\.example.com",
        "file:///etc",
        "http://[",
    ],
)
def test_what_is_no_origin_is_told(origin: str) -> None:
    """A URL of another kind, or with a secret in it, is a mistake."""
    urls, wrong = origins.usable([origin], private=True)
    assert ([], 1) == (urls, len(wrong))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "0x7f000001", "2130706433", "0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1",
        "0.0.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1", "localhost", "LOCALHOST.",
        "::127.0.0.1", "::ffff:0:127.0.0.1", "fec0::1", "64:ff9b:1::1", "100::1", "4000::1",
        "a.localhost", "printer.local", "metadata.google.internal", "intranet", "",
    ],
)  # fmt: skip
def test_private_hosts(host: str) -> None:
    """However it is written, an address of this machine or its networks is no public one."""
    assert not origins.is_public(host)


@pytest.mark.parametrize(
    "host", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "ipfs.io", "a.b.example.", "[2606::1]"]
)
def test_public_hosts(host: str) -> None:
    """Addresses of the internet are."""
    assert origins.is_public(host)


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:1", "/ip4/10.0.0.1/tcp/80/http", "https://localhost", "http://[::1]"]
)
def test_private_origins_are_refused_unless_allowed(origin: str) -> None:
    """What leads inwards is told by name, and taken where the operator says so."""
    urls, wrong = origins.usable([origin], private=False)
    assert ([], 1) == (urls, len(wrong))
    assert origin in wrong[0]
    assert ([origins.url_of(origin)], []) == origins.usable([origin], private=True)


@pytest.fixture
def inside() -> Iterator[Liar]:
    """A server on this machine that would tell something."""
    with Liar() as liar:
        liar.lie("", says(b"secret"))
        yield liar


def test_a_name_that_leads_inwards_is_not_followed(inside: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    """A public name that resolves to this machine gets no connection, and no word of whether anything is there."""
    ask = socket.getaddrinfo

    def rebound(host: str, *more: object, **how: object) -> object:
        return ask("127.0.0.1" if host == "public.example" else host, *more, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    url = f"http://public.example:{inside.port}"
    assert ([url], []) == origins.usable([url], private=False)
    for private in (False, True):
        client = origins.client(url, private=private, connections=1)
        if private:
            assert b"secret" == client.call("GET", "/")
        else:
            with pytest.raises(Unavailable) as told:
                client.call("GET", "/")
            assert f"{url} does not answer (its name leads to no public address)" == str(told.value)
            assert [] == inside.asked
        client.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_inner_names_all_look_alike(inside: Liar, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """An open port, a closed one, and a name that nobody has are told in the same words."""
    ask = socket.getaddrinfo

    def rebound(host: str, *more: object, **how: object) -> object:
        if host == "none.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ask("127.0.0.1", *more, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        shut = closed.getsockname()[1]
    said = set()
    for host in (f"inner.example:{inside.port}", f"inner.example:{shut}", f"none.example:{shut}"):
        client = origins.client(f"{scheme}://{host}", private=False, connections=1)
        with pytest.raises(Unavailable) as told:
            client.call("GET", "/")
        client.close()
        said.add(str(told.value).replace(host, ""))
    assert {f"{scheme}:// does not answer (its name leads to no public address)"} == said


def test_the_address_that_was_looked_at_is_the_one_connected_to(inside: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is asked for once, and of the addresses it has only the public ones are connected to."""
    ask, asked = socket.getaddrinfo, []

    def rebinding(host: str, *more: object, **how: object) -> object:
        asked.append(host)
        leads = ("127.0.0.1", "127.0.0.2") if host == "public.example" else (host,)
        return [one for address in leads for one in ask(address, *more, **how)]  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(origins, "is_public", "127.0.0.2".__eq__)
    client = origins.client(f"http://public.example:{inside.port}", private=False, connections=1)
    with pytest.raises(Unavailable):
        client.call("GET", "/")
    client.close()
    assert (["public.example", "127.0.0.2"], []) == (asked, inside.asked)


def test_our_own_address_as_others_read_it() -> None:
    """A public URL makes the multiaddress that clients are told, and the way back leads to the same place."""
    for url, expected in [
        ("https://pins.example", "/dns/pins.example/tcp/443/https"),
        ("http://192.0.2.1:8080", "/ip4/192.0.2.1/tcp/8080/http"),
        ("https://[2001:db8::1]/a/b", "/ip6/2001:db8::1/tcp/443/https/http-path/a%2Fb"),
    ]:
        assert expected == origins.multiaddr_of(url)
    assert "https://[2001:db8::1]:443/a/b" == origins.url_of("/ip6/2001:db8::1/tcp/443/https/http-path/a%2Fb")
