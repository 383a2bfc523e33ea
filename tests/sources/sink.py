"""A sink that seals at once and keeps everything in memory, for the tests of what writes to sinks."""

from __future__ import annotations

import os
from concurrent.futures import Future
from itertools import pairwise
from typing import TYPE_CHECKING

from pinfold.seal.box import TooLarge
from pinfold.seal.keys import OwnerKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinfold.seal.refs import Ref
    from pinfold.sources.seam import Counts, Outcome, Segments

KEY = OwnerKey.new(os.urandom)
AGENT = KEY.agent("tester")
SEALER = AGENT.sealer()
OPENER = KEY.opener(0)


class KeepingSink:
    """Remembers blocks by digest, and everything it is told."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, bytes] = {}
        self.chunks: list[bytes] = []
        self.referred: set[bytes] = set()
        self.pages: list[bytes] = []
        self.problems: list[tuple[bytes, str]] = []
        self.notes: list[tuple[bytes, str]] = []
        self.asleep: list[tuple[Future[Segments], Segments]] | None = None

    def chunk(self, data: bytes, *, edges: Sequence[int] = (), check: bool = False) -> Future[Segments]:
        """Seal; into single files at once where the whole does not fit."""
        self.chunks.append(data)
        try:
            segments = [(0, self._seal(data, check=check))]
        except TooLarge:
            assert edges
            bounds = pairwise((0, *edges, len(data)))
            segments = [(low, self._seal(data[low:high], check=check)) for low, high in bounds]
        future: Future[Segments] = Future()
        if self.asleep is None:
            future.set_result(segments)
        else:
            self.asleep.append((future, segments))
        return future

    def wake(self, count: int) -> None:
        """Let the first of the chunks that are held back be done."""
        for _ in range(count):
            assert self.asleep
            future, segments = self.asleep.pop(0)
            future.set_result(segments)

    def _seal(self, data: bytes, *, check: bool) -> Ref:
        sealed = SEALER.seal(data, SEALER.name(data)[1], check=check)
        self.blocks[sealed.ref.digest] = sealed.block
        return sealed.ref

    def open(self, ref: Ref) -> bytes:
        """The plaintext of a chunk."""
        return OPENER.open(ref, self.blocks[ref.digest])

    def node(self, ref: Ref) -> bytes:
        """As any chunk."""
        return self.open(ref)

    def keep_node(self, ref: Ref, plain: bytes) -> None:
        """Nothing."""

    def refer(self, ref: Ref) -> None:
        """Remember."""
        self.referred.add(ref.digest)

    def keep_page(self, page: bytes) -> None:
        """Remember."""
        self.pages.append(page)

    def problem(self, path: bytes, what: str) -> None:
        """Remember."""
        self.problems.append((path, what))

    def note(self, path: bytes, what: str) -> None:
        """Remember."""
        self.notes.append((path, what))

    def progress(self, current: bytes, counts: Counts) -> None:
        """Nothing."""

    def due(self) -> bool:
        """Never."""
        return False

    def checkpoint(self, outcome: Outcome) -> None:
        """Never."""
