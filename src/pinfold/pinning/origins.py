"""Where blocks can be fetched from: URLs, and the multiaddresses of HTTP servers.

A service that connects to wherever a stranger says can be turned against its own network.  So addresses
are looked at twice: as they are written, and as names are resolved, before each connection, which goes to the
address that was looked at.  A name that leads inwards is told as one that leads nowhere, whatever is open there.
Behind a proxy, that one's rules hold instead.

Source: the multiaddr protocol table; https://specs.ipfs.tech/http-gateways/trustless-gateway/
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlsplit

from urllib3.exceptions import HTTPError
from urllib3.util.connection import allowed_gai_family

from pinfold.store.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterable

SILENCE: Final = 20.0
_ADDRESSES: Final = 3
_HOSTS: Final = ("dns", "dns4", "dns6", "ip4", "ip6")
# All of the internet that speaks IPv6; what is outside leads to IPv4 addresses inside of IPv6 ones, or inwards.
_INTERNET: Final = ipaddress.ip_network("2000::/3")


def url_of(origin: str) -> str | None:
    """The base URL of an origin; None for what is no HTTP server, as the address of a libp2p peer.

    Raises ValueError, with the reason, for a URL that makes no sense.
    """
    if origin.startswith("/"):
        return _from_multiaddr(origin)
    # urlsplit drops some of these, and others read a backslash as the end of a host.
    if not origin.isprintable() or " " in origin or "\\" in origin:
        raise ValueError("is a URL with letters that no URL has")
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("is no URL") from error
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        raise ValueError("is neither http://…, https://…, nor a multiaddress")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("is a URL with a password, a query or a fragment")
    return origin.rstrip("/")


def multiaddr_of(url: str) -> str:
    """The multiaddress of an HTTP server.  Raises ValueError."""
    base = url_of(url)
    if base is None:
        raise ValueError("is no address of an HTTP server")
    found = urlsplit(base)
    host = found.hostname or ""
    try:
        kind = f"ip{ipaddress.ip_address(host).version}"
    except ValueError:
        kind = "dns"
    port = found.port or (443 if found.scheme == "https" else 80)
    path = found.path.strip("/")
    return f"/{kind}/{host}/tcp/{port}/{found.scheme}" + (f"/http-path/{quote(path, safe='')}" if path else "")


def _from_multiaddr(address: str) -> str | None:
    """As /dns4/HOST/tcp/443/https, /ip4/…/tcp/…/http, /dns/HOST/tcp/443/tls/http, maybe with /http-path/… behind."""
    kind, host, tcp, port, *rest = [*address.split("/")[1:], "", "", "", ""]
    rest = [part for part in rest if part]
    if kind not in _HOSTS or tcp != "tcp" or not host or not port.isascii() or not port.isdigit():
        return None
    tls = rest[:1] == ["tls"]
    if tls:
        rest = rest[3:] if rest[1:2] == ["sni"] else rest[1:]
    if rest[:1] not in (["http"], ["https"]) or int(port[:6]) > 0xFFFF:
        return None
    scheme = "https" if tls else rest[0]
    path = f"/{unquote(rest[2]).strip('/')}" if rest[1:2] == ["http-path"] and len(rest) > 2 else ""
    shown = f"[{host}]" if kind == "ip6" else host
    return url_of(f"{scheme}://{shown}:{int(port)}{path}")


def is_public(host: str) -> bool:
    """Whether an address is one of the whole internet; names that stand for this machine are not, others may be."""
    name = host.strip("[]").rstrip(".").lower()
    try:
        found = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        # Resolvers read 127.1 and 0x7f000001 as addresses, which no name of a public server looks like.
        last = name.rpartition(".")[2]
        return bool(name) and "." in name and not last[:1].isdigit() and last not in {"localhost", "local", "internal"}
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif found.sixtofour or found.teredo or found not in _INTERNET:
            return False
    return found.is_global and not found.is_multicast


def usable(origins: Iterable[str], *, private: bool) -> tuple[list[str], list[str]]:
    """The base URLs among these, each once, and for each URL that will not do the reason.

    `private`: whether addresses of this machine and its networks will do.  Peers of libp2p are passed over.
    """
    urls: dict[str, None] = {}
    wrong: list[str] = []
    for origin in origins:
        try:
            url = url_of(origin)
        except ValueError as error:
            wrong.append(f"{origin} {error}")
            continue
        if url is None:
            continue
        if private or is_public(urlsplit(url).hostname or ""):
            urls[url] = None
        else:
            wrong.append(f"{origin} is an address of a private network")
    return list(urls), wrong


def client(url: str, *, private: bool, connections: int) -> Client:
    """A client of this server that, unless `private`, talks to public addresses only."""
    kind = Client if private else PublicClient
    return kind(url, timeout=SILENCE, connections=connections)


def _public(host: str, port: int) -> list[str]:
    """The public addresses of a host.  Raises OSError without one."""
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host.strip("[]"), port, allowed_gai_family(), socket.SOCK_STREAM)
        if public := [address for *_, (address, *_) in found if isinstance(address, str) and is_public(address)]:
            return list(dict.fromkeys(public))
    # One text for all: which inner names there are, and what is open there, is nobody's business.
    raise OSError("its name leads to no public address")


class _Guarded:
    """A connection that is made to public addresses only: those that its name had when it was asked for."""

    _dns_host: str
    port: int

    def _new_conn(self) -> socket.socket:
        name = self._dns_host
        failed: Exception | None = None
        try:
            # A name may have hundreds of addresses, each of them mute.
            for address in _public(name, self.port)[:_ADDRESSES]:
                self._dns_host = address
                try:
                    made: socket.socket = super()._new_conn()  # type: ignore[misc]
                except (OSError, HTTPError) as error:
                    failed = error
                else:
                    return made
        finally:
            self._dns_host = name
        raise failed or OSError("its name leads nowhere")


class PublicClient(Client):
    """A client that lets itself be led to public addresses only."""

    def __init__(self, url: str, **how: Any) -> None:  # noqa: ANN401  # as Client takes them
        super().__init__(url, **how)
        if self._pool.proxy is None:
            usual = self._pool.ConnectionCls
            self._pool.ConnectionCls = type(usual.__name__, (_Guarded, usual), {})
