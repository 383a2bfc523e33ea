"""Looking at each copy of a block in a store that keeps several, and healing the bad from the good.

A store without copies of its own counts as one copy, and is never written to.
"""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import TYPE_CHECKING

from pinfold.errors import Corrupt, Missing, StoreError
from pinfold.store.layers import power
from pinfold.store.seam import Far, HasCopies, Heals

if TYPE_CHECKING:
    from pinfold.ipld.cid import CID
    from pinfold.store.seam import Block, Store


def at_once(store: Store) -> int:
    """How many calls should be under way together: 1 for a store that is near, the most of its copies for several."""
    far = power(store, Far)  # type: ignore[type-abstract]
    if far is not None:
        return max(1, far.at_once)
    able = power(store, HasCopies)  # type: ignore[type-abstract]
    return 1 if able is None else max(map(at_once, able.copies()), default=1)


def heal(store: Store, block: Block) -> None:
    """Give a store a good copy of a block that it has damaged or lost, and see that it has it good now.

    Raises what the store raises; Missing or Corrupt where it did not help.
    """
    able = power(store, Heals)  # type: ignore[type-abstract]
    if able is not None:
        able.replace(block)
    else:
        store.put([block])
    block[0].verify(store.get(block[0]), store.name)


class Copies:
    """The copies of a store.  Safe from any thread."""

    def __init__(self, store: Store) -> None:
        """`store`: with several copies or with one."""
        able = power(store, HasCopies)  # type: ignore[type-abstract]
        self._store = store
        self._stores = [store] if able is None else able.copies()
        self._lock = Lock()
        self._healed: Counter[str] = Counter()
        self._short: Counter[str] = Counter()
        self._failed: dict[str, str] = {}

    def has(self, cids: list[CID]) -> set[CID]:
        """Those that at least one copy holds; which copies lack some is noted."""
        if len(self._stores) == 1:
            return self._stores[0].has(cids)
        answers: list[tuple[Store, set[CID]]] = []
        for store in self._stores:
            try:
                answers.append((store, store.has(cids)))
            except StoreError as error:
                self._note_failure(store, error)
        found = set().union(*(held for _, held in answers))
        with self._lock:
            self._short.update({store.name: len(found - held) for store, held in answers})
        return found

    def get(self, cid: CID) -> bytes:
        """The block from the first copy that is good, after all were read; the others are healed.

        Raises what the store raises where no copy is good.
        """
        if len(self._stores) == 1:
            return self._store.get(cid)
        good: bytes | None = None
        bad: list[Store] = []
        for store in self._stores:
            try:
                block = store.get(cid)
                cid.verify(block, store.name)
            except (Missing, Corrupt):
                bad.append(store)
            except StoreError as error:
                self._note_failure(store, error)
            else:
                good = block if good is None else good
        if good is None:
            return self._store.get(cid)
        for store in bad:
            self._heal(store, cid, good)
        return good

    @property
    def short(self) -> bool:
        """Whether a copy could not be asked, or still lacks what another holds."""
        with self._lock:
            return bool(self._failed) or any(count > self._healed[name] for name, count in self._short.items())

    def notes(self) -> list[str]:
        """What is to be told of the copies, a line for each."""
        with self._lock:
            lines = [f"{name}: {why}" for name, why in self._failed.items()]
            lines += [f"healed {_blocks(count)} in {name} from another copy" for name, count in self._healed.items()]
            for name, count in self._short.items():
                if count > self._healed[name]:
                    lines.append(f"{name} lacks {_blocks(count - self._healed[name])} that another copy holds")
        return lines

    def _heal(self, store: Store, cid: CID, block: bytes) -> None:
        try:
            heal(store, (cid, block))
        except StoreError as error:
            self._note_failure(store, error)
            return
        with self._lock:
            self._healed[store.name] += 1

    def _note_failure(self, store: Store, error: StoreError) -> None:
        with self._lock:
            self._failed.setdefault(store.name, str(error))


def _blocks(count: int) -> str:
    return "1 block" if count == 1 else f"{count} blocks"
