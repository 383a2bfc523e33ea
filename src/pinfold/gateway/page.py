"""The page of a folder: own HTML, no scripts, everything that comes from content escaped."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pinfold.gateway.asked import Asked
    from pinfold.ipld import Entry
    from pinfold.ipld.cid import CID

_STYLE: Final = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:0 auto;padding:1rem}
h1{font-size:1.1rem;font-weight:600;overflow-wrap:anywhere}
table{width:100%;border-collapse:collapse}
th,td{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #8884}
td:first-child{overflow-wrap:anywhere}
td:last-child,th:last-child{text-align:right;white-space:nowrap}
code{font-size:.8rem}
a{color:#06c;text-decoration:none}
a:hover{text-decoration:underline}
@media(prefers-color-scheme:dark){a{color:#6af}}
p{color:#888}
"""
# Any change to what a page looks like must change this, or browsers show the old one for a week.
VERSION: Final = "1"
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_ROWS: Final = 200
# File systems take 255 bytes; what is longer is shown cut and linked by its CID.
_LONGEST: Final = 255


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a folder: what it shows, and where the next page begins; None: this is the last.

    `sharded`: entries come in the order of hashes from page to page, sorted within each.
    """

    cid: CID
    entries: Sequence[Entry]
    next: int | None = None
    first: bool = True
    sharded: bool = False


def render(asked: Asked, listing: Listing) -> Iterator[bytes]:
    """Yield the page in pieces of 200 rows."""
    title = escape("/" + "/".join((asked.namespace, asked.root, *asked.names)))
    yield (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Index of {_crumbs(asked)}</h1>\n<p><code>{listing.cid}</code></p>\n"
        "<table>\n<tr><th>Name</th><th>CID</th><th>Size</th></tr>\n"
    ).encode()
    if asked.names and listing.first:
        yield b'<tr><td><a href="..">..</a></td><td></td><td></td></tr>\n'
    rows: list[str] = []
    for entry in listing.entries:
        rows.append(_row(entry))
        if len(rows) == _ROWS:
            yield "".join(rows).encode()
            rows.clear()
    rows.append("</table>\n")
    if listing.next is not None:
        order = " Pages are in the order of hashes, sorted each for itself." if listing.sharded else ""
        rows.append(f'<p><a href="?from={listing.next}">Next page</a>{order}</p>\n')
    rows.append("</body>\n</html>\n")
    yield "".join(rows).encode()


def size(count: int) -> str:
    """Return a number of bytes for people; empty for 0, which means that nobody knows."""
    if not count:
        return ""
    unit, scaled = 0, float(count)
    while scaled >= 1024 and unit < len(_UNITS) - 1:
        scaled /= 1024
        unit += 1
    return f"{scaled:.0f} {_UNITS[unit]}" if unit == 0 or scaled >= 100 else f"{scaled:.1f} {_UNITS[unit]}"


def _crumbs(asked: Asked) -> str:
    at = f"/{asked.namespace}/{quote(asked.root)}"
    parts = [f'/{asked.namespace}/<a href="{at}/">{escape(asked.root)}</a>']
    for name in asked.names:
        at += "/" + quote(name, safe="")
        parts.append(f'<a href="{at}/">{escape(name)}</a>')
    return "/".join(parts)


def _row(entry: Entry) -> str:
    cid, long = str(entry.cid), len(entry.name) > _LONGEST
    name = entry.name[:_LONGEST].decode("utf-8", "backslashreplace")
    by_cid = f"/ipfs/{cid}" if long else f"/ipfs/{cid}?filename={quote(name, safe='')}"
    href = "./" + quote(entry.name, safe="") if _reachable(entry.name) else escape(by_cid)
    return (
        f'<tr><td><a href="{href}">{escape(name)}{"…" if long else ""}</a></td>'
        f'<td><a href="{escape(by_cid)}"><code>{cid[:8]}…{cid[-6:]}</code></a></td>'
        f"<td>{size(entry.tsize)}</td></tr>\n"
    )


def _reachable(name: bytes) -> bool:
    """Whether a path can hold this name: what a hostile folder calls `..` or `a/b` is reached by its CID only."""
    if name in {b"", b".", b".."} or len(name) > _LONGEST or b"/" in name or b"\0" in name:
        return False
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
