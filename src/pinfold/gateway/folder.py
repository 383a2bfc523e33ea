"""Answers for people: folders, as their index.html or as a page that lists them.

A page reads the folder's own blocks only, never what they name, and of a sharded folder only the shards that
hold what is on the page.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from pinfold.door import BadRequest, Response
from pinfold.errors import Malformed
from pinfold.gateway import filetree, page, resolve, shards
from pinfold.gateway.page import Listing
from pinfold.ipld import Kind, kind, lookup
from pinfold.ipld.cid import DAG_PB, RAW
from pinfold.ipld.nodes import load_unixfs

if TYPE_CHECKING:
    from pinfold.door import Request
    from pinfold.gateway.asked import Asked
    from pinfold.gateway.blocks import Blocks
    from pinfold.ipld import Entry
    from pinfold.ipld.cid import CID

INDEX: Final = "index.html"
# The look of a page may change with the program, so it is kept a week, and a month while a new one is fetched.
CACHE: Final = "public, max-age=604800, stale-while-revalidate=2678400"
# A page of 1000 entries takes 150 kB of shards as Kubo writes them.
MOST_SHARDS: Final = 8 << 20
_LAST: Final = 1 << 64


def index(cid: CID, blocks: Blocks) -> CID | None:
    """Return the file index.html of a folder, None where it has none.

    Raises BadRequest 422 for folders too large, Malformed, and what the store raises.
    """
    get = resolve.metered(blocks)
    entry = lookup(cid, INDEX.encode(), get)
    if entry is None or entry.cid.codec not in {RAW, DAG_PB}:
        return None
    return entry.cid if kind(entry.cid, lambda cid: filetree.outline(get(cid)).bare) is Kind.FILE else None


def etag(cid: CID, request: Request) -> str:
    """Name the page of a folder that the request asks for."""
    return f'"DirIndex-pinfold-{page.VERSION}_CID-{cid}-{start(request)}"'


def start(request: Request) -> int:
    """Return where the page begins: an index, or for sharded folders a hash.  Raises BadRequest 400."""
    text = request.option("from") or "0"
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) >= _LAST:
        raise BadRequest(400, "from must be a number that a page of this folder gave")
    return int(text)


def listing(request: Request, asked: Asked, cid: CID, blocks: Blocks, most: int) -> Response:
    """Answer with the page of the folder `cid`, `most` entries of it."""
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", page.POLICY)]
    if request.method == "HEAD":
        return Response(200, headers)
    return Response(200, headers, page.render(asked, _listing(cid, blocks, start(request), most)))


def _listing(cid: CID, blocks: Blocks, begin: int, most: int) -> Listing:
    node, data = load_unixfs(cid, blocks.meet)
    by_name = attrgetter("name")
    if not shards.is_sharded(data):
        entries = sorted(node.links, key=by_name)
        end = begin + most
        return Listing(cid, entries[begin:end], end if end < len(entries) else None, first=not begin)
    found: list[Entry] = []
    follows: int | None = None
    size = 0
    for one in shards.trie(cid, blocks, begin - 1):
        if isinstance(one, shards.Shard):
            size += max(len(one.block), filetree.weight(one.block))
            if size > MOST_SHARDS:
                raise Malformed("HAMT shard", f"a page of the folder takes more than {MOST_SHARDS} bytes of shards")
            continue
        key, entry = one
        if len(found) == most:
            follows = key
            break
        found.append(entry)
    return Listing(cid, sorted(found, key=by_name), follows, first=not begin, sharded=True)
