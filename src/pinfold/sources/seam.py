"""What a source is, and what it hands its bytes to.

A source reads what it guards and gives plaintext to a `Sink`; it knows nothing of keys or stores.
The sink seals, stores and remembers which blocks the snapshot needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from pinfold.seal.refs import Ref, Tree


@dataclass(slots=True)
class Counts:
    """What a run met.  `*_bytes` are plaintext."""

    files: int = 0
    folders: int = 0
    others: int = 0
    bytes: int = 0
    files_new: int = 0
    files_changed: int = 0
    files_unchanged: int = 0
    files_gone: int = 0
    read_bytes: int = 0


@dataclass(slots=True)
class Outcome:
    """What a source made: the root of its index, and what the next run wants to be told.

    `sparse`: digests of bundles of which less than half is still current.
    """

    index: Tree | None
    counts: Counts
    sparse: list[bytes] = field(default_factory=list)


Segments = list[tuple[int, "Ref"]]
"""Where a chunk came to lie: (offset of the first byte, ref); more than one if it had to be halved."""


class Sink(Protocol):
    """Takes plaintext, gives refs."""

    def chunk(self, data: bytes, *, edges: Sequence[int] = (), check: bool = False) -> Future[Segments]:
        """Seal and store a chunk; waits while too much is under way.

        `edges`: offsets where it may be halved if sealed it does not fit a block.  `check`: open it
        again and compare before it is let go.  The future raises what sealing or storing raised.
        """

    def node(self, ref: Ref) -> bytes:
        """The plaintext of a node of refs stored earlier.  Raises Missing where it cannot be had."""

    def keep_node(self, ref: Ref, plain: bytes) -> None:
        """Remember a node of refs for the next run."""

    def refer(self, ref: Ref) -> None:
        """Say that the snapshot needs this block.  `chunk` does not say it."""

    def keep_page(self, page: bytes) -> None:
        """Remember an index page for the next run."""

    def problem(self, path: bytes, what: str) -> None:
        """Something could not be saved; the run goes on and ends with exit code 3."""

    def note(self, path: bytes, what: str) -> None:
        """Something was left out as it should be, and people may want to know."""

    def progress(self, current: bytes, counts: Counts) -> None:
        """How far the run has come."""

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""

    def checkpoint(self, outcome: Outcome) -> None:
        """Pin what there is so far, so that a killed run goes on from here."""


@dataclass(frozen=True, slots=True)
class Previous:
    """What an earlier run left: the pages of the last index, and of a run that was cut short since.

    `sparse`: digests of bundles of which less than half was still current then.
    """

    pages: Iterator[bytes] = field(default_factory=lambda: iter(()))
    begun: Iterator[bytes] = field(default_factory=lambda: iter(()))
    sparse: frozenset[bytes] = frozenset()


class Source(Protocol):
    """Something guarded."""

    @property
    def name(self) -> str:
        """What people call it; unique in a repository."""

    @property
    def kind(self) -> str:
        """What kind of thing it is, as manifests say it: `directory`."""

    def options(self) -> dict[str, object]:
        """Settings that shaped the snapshot, for its manifest."""

    def run(self, sink: Sink, previous: Previous) -> Outcome:
        """Read everything once; what has not changed since `previous` need not be read."""
