"""The address of a request: namespace, root, names; and its bounds.

Source: https://specs.ipfs.tech/http-gateways/path-gateway/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from pinfold.door import BadRequest

if TYPE_CHECKING:
    from pinfold.door import Request

MOST_PATH: Final = 8192
MOST_NAMES: Final = 256
_MOST_FILENAME: Final = 1024
# What a path may show as it is: everything printable in ASCII that has no meaning of its own in an address.
_PLAIN: Final = "/:@!$&'()*+,;=-._~"


@dataclass(frozen=True, slots=True)
class Asked:
    """One address taken apart.

    `namespace`: ipfs or ipns; `root`: the text of the CID or name; `names`: what follows, without empty
    names; `slash`: whether it ends with a slash; `path`: as it came, safe to stand in a header.
    """

    namespace: str
    root: str
    names: tuple[str, ...]
    slash: bool
    path: str


def take_apart(path: str) -> Asked:
    """Take a decoded path apart.  Raises BadRequest 400 or 404."""
    if len(path) > MOST_PATH:
        raise BadRequest(400, f"the path is longer than {MOST_PATH} characters")
    if "\0" in path:
        raise BadRequest(400, "the path has a null in it")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise BadRequest(400, "the path climbs with ..")
    if not parts or parts[0] not in {"ipfs", "ipns"}:
        raise BadRequest(404, "nothing is here: content lies below /ipfs/CID and /ipns/NAME")
    if len(parts) < 2:
        raise BadRequest(400, f"/{parts[0]}/ needs a {'CID' if parts[0] == 'ipfs' else 'name'} behind it")
    if len(parts) - 2 > MOST_NAMES:
        raise BadRequest(400, f"the path has more than {MOST_NAMES} names")
    slash = path.endswith("/")
    shown = quote("/" + "/".join(parts), safe=_PLAIN) + ("/" if slash else "")
    return Asked(parts[0], parts[1], tuple(parts[2:]), slash, shown)


def query(request: Request, without: frozenset[str] = frozenset()) -> str:
    """Return the query as it stands behind an address, its question mark included; empty where there is none."""
    pairs = [(key, value) for key, value in request.query if key not in without]
    return "?" + urlencode(pairs) if pairs else ""


def filename(request: Request) -> str:
    """Return the name that the client wants a download to have, empty where it says none.  Raises BadRequest 400."""
    name = request.option("filename") or ""
    if len(name) > _MOST_FILENAME:
        raise BadRequest(400, f"filename is longer than {_MOST_FILENAME} characters")
    return name


def disposition(kind: str, name: str) -> tuple[str, str]:
    """Return a Content-Disposition: `kind` is inline or attachment, `name` any text."""
    ascii_only = name if name.isascii() else "".join(letter if letter.isascii() else "_" for letter in name)
    plain = quote(ascii_only, safe=" !#$&+-.^_`{}~()[]@,=")
    return "Content-Disposition", f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
