"""CAR answers: the blocks of a path, then those below its end, depth first, as a stream.

Status and headers are settled once the path is resolved and its last block is there; a block found missing
after that breaks the stream off, so that nobody takes what came for the whole.  Identity CIDs carry their
bytes themselves and are never sent.

Source: https://specs.ipfs.tech/http-gateways/trustless-gateway/, "CAR Responses".
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from pinfold.door import BadRequest
from pinfold.errors import Malformed
from pinfold.gateway import filetree, shards
from pinfold.gateway.blocks import Seen
from pinfold.gateway.formats import CarOptions, Scope
from pinfold.gateway.links import WALKED, links
from pinfold.gateway.ranges import Span
from pinfold.ipld import Kind, car, kind
from pinfold.ipld.cid import DAG_PB, IDENTITY, RAW
from pinfold.ipld.nodes import load_unixfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinfold.gateway.blocks import Blocks, Supply
    from pinfold.gateway.resolve import Way
    from pinfold.ipld.cid import CID

    Section = tuple[CID, bytes]

# A stream ends here whatever the DAG says: 16 terabytes of 1 MiB blocks.
MOST_SECTIONS: Final = 1 << 24
# Small blocks are sent together, as each piece costs the server 0.1 ms and a block of 4 KiB 0.03; but never many, so
# that the first piece of a DAG of tiny blocks comes at once.
_PIECE: Final = 64 << 10
_PARTS: Final = 256
_AHEAD: Final = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """What a CAR will hold: the way to the content, how much of it, and for a range of a file which bytes."""

    way: Way
    options: CarOptions
    kind: Kind | None = None
    span: Span | None = None

    def etag(self) -> str:
        """Name the representation; weak, as the order of blocks may change with the program."""
        way, options = self.way, self.options
        said = "\0".join([*way.texts, options.scope, repr(options.entity), "y" if options.dups else "n"])
        return f'W/"{way.texts[0]}.car.{hashlib.sha256(said.encode()).hexdigest()[:16]}"'


def plan(way: Way, options: CarOptions, blocks: Blocks) -> Plan:
    """Look at the last block of the way and settle what will be sent.

    Raises BadRequest 400 for a range outside the file, 501 for a DAG that cannot be walked, Malformed, and what
    the store raises.
    """
    block = blocks.meet(way.end)
    if options.scope is Scope.ALL and way.end.codec not in WALKED:
        raise BadRequest(501, "the links of this codec are not known here: ask with dag-scope=block")
    if options.scope is not Scope.ENTITY or way.end.codec not in {RAW, DAG_PB}:
        return Plan(way, options)
    try:
        what = kind(way.end, lambda cid: filetree.outline(blocks.meet(cid)).bare)
    except Malformed:  # dag-pb that is no UnixFS: nothing but the block makes up the entity
        return Plan(way, options)
    span = None
    if what is Kind.FILE:
        size = filetree.file_size(way.end, block)
        span = options.entity.span(size) if options.entity is not None else Span(0, size)
        if size and options.entity is not None and (options.entity.first >= size or span.start == span.end == 0):
            raise BadRequest(400, f"entity-bytes lies outside the file of {size} bytes")
    return Plan(way, options, what, span)


def stream(planned: Plan, blocks: Blocks, supply: Supply) -> Iterator[bytes]:
    """Yield the CAR in pieces.  Raises what the store raises, Malformed, and Unavailable beyond a bound."""
    with closing(blocks), blocks.streaming(), closing(Seen(supply)) as seen, closing(Seen(supply)) as whole:
        parts = [car.header([planned.way.end])]
        size = sent = 0
        for cid, block in _sections(planned, blocks, seen, whole):
            if cid.hash_code == IDENTITY:
                continue
            sent += 1
            if sent > MOST_SECTIONS:
                raise Malformed("DAG", f"more than {MOST_SECTIONS} blocks in one CAR")
            parts.append(car.section_prefix(cid, len(block)))
            if len(block) >= _PIECE:
                # Never joined: that would be a second copy behind each slow reader.
                yield b"".join(parts)
                parts, size = [], 0
                if blocks.is_spared(cid, block):
                    slices = blocks.in_slices(cid, block)
                    del block
                    yield from slices
                else:
                    yield block
                continue
            parts.append(block)
            size += len(block)
            if size >= _PIECE or len(parts) >= _PARTS:
                yield b"".join(parts)
                parts, size = [], 0
        if parts:
            yield b"".join(parts)


def _sections(planned: Plan, blocks: Blocks, seen: Seen, whole: Seen) -> Iterator[Section]:
    for cid in planned.way.passed:
        yield cid, blocks.part(cid)
    end, options = planned.way.end, planned.options
    if options.scope is Scope.ALL:
        yield from _all(end, blocks, None if options.dups else seen)
    elif planned.kind is Kind.FILE and planned.span is not None:
        once = (None, None) if options.dups else (seen, whole)
        yield from map(_section, filetree.visit(end, blocks, planned.span, *once))
    elif planned.kind is Kind.FOLDER and shards.is_sharded(load_unixfs(end, blocks.meet)[1]):
        for found in shards.trie(end, blocks):
            if isinstance(found, shards.Shard):
                yield found
    else:
        yield end, blocks.part(end)


def _section(one: filetree.Visit) -> Section:
    return one.cid, one.block


def _all(root: CID, blocks: Blocks, seen: Seen | None) -> Iterator[Section]:
    pending = [root]
    while pending:
        cid = pending.pop()
        if seen is not None and not seen.add(cid):
            continue
        blocks.expect(islice(reversed(pending), _AHEAD))
        if cid.codec == RAW:
            yield cid, blocks.part(cid)  # which no variable here holds
            continue
        block = blocks.part(cid)
        yield cid, block
        children = links(cid, block)
        if seen is not None:
            children = list(dict.fromkeys(children))
        children.reverse()
        pending += children
        if len(pending) > filetree.MAX_PENDING:
            raise Malformed("DAG", f"more than {filetree.MAX_PENDING} links wait at once below {root}")
