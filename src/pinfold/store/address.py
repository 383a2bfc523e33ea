"""Addresses of far stores: KIND+URL[,URL…][?OPTION=VALUE&…], as `kubo+http://127.0.0.1:5001`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from pinfold.errors import UsageError

# What each kind may be asked for behind the question mark; docs/configuration.md tells of them.
OPTIONS: Final[dict[str, frozenset[str]]] = {
    "kubo": frozenset({"network", "gateway"}),
    "cluster": frozenset({"min", "max", "wait", "gateway", "kubo"}),
    "psa": frozenset({"gateway", "origins", "wait"}),
    "gateway": frozenset({"root"}),
}
# HOST:PORT, and a multiaddress with a port.
_HOST_PORT: Final = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})/?", re.ASCII)
_MULTIADDRESS: Final = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/([\w.:-]+)/tcp/(\d{1,5})(?:/https?)?/?", re.ASCII)
_KINDS: Final = {"9094": "cluster", "8080": "gateway"}


@dataclass(frozen=True, slots=True)
class Address:
    """A far store: its kind, the URLs of its servers, and what else was asked for.  It holds no secret."""

    kind: str
    urls: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How people call it."""
        return f"{self.kind}+{','.join(self.urls)}"

    def seconds(self, option: str, default: float) -> float:
        """An option that is a time.  Raises UsageError."""
        return self._number(option, default, float)

    def whole(self, option: str, default: int) -> int:
        """An option that is a whole number.  Raises UsageError."""
        return int(self._number(option, default, int))

    def _number(self, option: str, default: float, kind: type[int | float]) -> float:
        try:
            number = kind(self.options.get(option, default))
        except ValueError:
            number = -2
        if not -1 <= number <= 1e6:
            raise UsageError(f"{self.name}: {option}={self.options[option]} is no number that makes sense there")
        return number


def parse(text: str) -> Address | None:
    """The far store that `text` names; None where it is a folder.  Raises UsageError, which repeats no secret."""
    scheme, colon, rest = text.partition("://")
    if not colon or scheme == "file":
        return None
    kind, plus, rest = f"{scheme.lower()}{colon}{rest}".partition("+")
    if not plus or kind not in OPTIONS:
        kinds = ", ".join(f"{one}+https://…" for one in OPTIONS)
        raise UsageError(f"{scheme}:// is no kind of store; there are: a folder, {kinds}")
    addresses, _, asked = rest.partition("?")
    urls = tuple(_url(kind, one) for one in addresses.split(","))
    options = dict(parse_qsl(asked, keep_blank_values=True))
    for option in options:
        if option not in OPTIONS[kind]:
            known = ", ".join(sorted(OPTIONS[kind])) or "none"
            raise UsageError(f"{kind}+{urls[0]}: there is no option {option!r}; there are: {known}")
    return Address(kind, urls, options)


def meant(text: str) -> str | None:
    """The address that somebody probably meant who wrote HOST:PORT or /ip4/…/tcp/PORT; None for anything else."""
    if (found := _HOST_PORT.fullmatch(text)) is not None:
        return f"{_KINDS.get(found[1], 'kubo')}+http://{text.rstrip('/')}"
    if (found := _MULTIADDRESS.fullmatch(text)) is not None:
        host = f"[{found[2]}]" if found[1] == "ip6" else found[2]
        return f"{_KINDS.get(found[3], 'kubo')}+http://{host}:{found[3]}"
    return None


def _url(kind: str, url: str) -> str:
    scheme, colon, rest = url.partition("://")
    url = scheme.lower().removeprefix(f"{kind}+") + colon + rest
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in {"http", "https"} or parts.fragment:
        raise UsageError(f"the address of a {kind} store is {kind}+http://HOST:PORT or {kind}+https://HOST")
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"{kind}+{parts.scheme}://{host}: an address holds no name and password, for others can see it;"
            " give them as token = basic:NAME:PASSWORD, in PINFOLD_TOKEN or a file"
        )
    return url.rstrip("/")
