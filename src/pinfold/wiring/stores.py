"""Stores as their addresses name them: a folder, or far ones by KIND+URL, alone or mirrored."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pinfold.errors import PinfoldError, StoreError, UsageError
from pinfold.wiring.secrets import authorization, read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinfold.config import Settings
    from pinfold.store.address import Address
    from pinfold.store.seam import Store

# How often in all a far store is asked that does not answer: a backup waits some 15 seconds for it.
ATTEMPTS: Final = 6


def place(settings: Settings) -> str:
    """The REPO text.  Raises UsageError when none is given."""
    if not settings.repository:
        raise UsageError("no repository given: use -r REPO, PINFOLD_REPOSITORY, or repository in pinfold.toml")
    return settings.repository


@contextlib.contextmanager
def store(settings: Settings, *, create: bool = False, attempts: int = ATTEMPTS) -> Iterator[Store]:
    """The store that REPO names, mirrored where settings say so; closed at the end.

    One of several that cannot be opened is left out, which `warnings` of the mirror tell; none is made
    unless `create`, lest a disk that is not mounted be taken for a new place.  `attempts`: see `one_store`.
    """
    with contextlib.ExitStack() as stack:
        if not settings.mirrors:
            single = stack.enter_context(_held(settings, place(settings), create=create, attempts=attempts))
            yield single
            return
        from pinfold.store import Mirror  # noqa: PLC0415

        stores: list[Store] = []
        absent: dict[str, PinfoldError] = {}
        for where in (place(settings), *settings.mirrors):
            try:
                stores.append(stack.enter_context(_held(settings, where, create=create, attempts=attempts)))
            except (StoreError, UsageError) as error:
                if create:
                    raise
                absent[where] = error
        if not stores:
            raise next(iter(absent.values()))
        reasons = {where: str(error) for where, error in absent.items()}
        mirror = Mirror(stores, min_copies=settings.min_copies, max_copies=settings.max_copies, absent=reasons)
        stack.callback(_warn, mirror)
        yield mirror


@contextlib.contextmanager
def _held(settings: Settings, where: str, *, create: bool, attempts: int) -> Iterator[Store]:
    """One store, closed at the end, when what it has to tell is told."""
    with contextlib.closing(one_store(settings, where, create=create, attempts=attempts)) as made:
        try:
            yield made
        finally:
            _warn(made)


def _warn(held: object) -> None:
    """Say what a store, below its layers, had to tell that is no error, on stderr."""
    while (below := getattr(held, "below", None)) is not None:
        held = below
    for line in getattr(held, "warnings", ()):
        _say(line)


def _say(line: str, logger: str = "pinfold") -> None:
    import logging  # noqa: PLC0415  # rarely needed

    logging.getLogger(logger).warning("pinfold: %s", line)


def _waits(line: str) -> None:
    """Say that a store does not answer, while it is tried again; whoever wants no such lines silences the logger."""
    _say(line, "pinfold.waiting")


def one_store(settings: Settings, where: str, *, create: bool, attempts: int = ATTEMPTS) -> Store:
    """The store at one address; a far one tries by itself, so often in all.  Raises UsageError, StoreError."""
    from pinfold.store import address  # noqa: PLC0415

    far = address.parse(where)
    return _folder(where, create=create) if far is None else _far(settings, where, far, attempts)


def _far(settings: Settings, where: str, address: Address, attempts: int) -> Store:
    from pinfold.store import Retry  # noqa: PLC0415

    access = settings.access.get(where)
    token = authorization(access.token if access else None)
    ca_file = access.ca_file if access else None
    made = _kind(address.kind)(address, authorization=token, ca_file=ca_file)
    return Retry(made, attempts=attempts, tell=_waits)


def _kind(kind: str) -> Callable[..., Store]:
    if kind == "kubo":
        from pinfold.store.kubo import KuboStore  # noqa: PLC0415

        return KuboStore
    if kind == "cluster":
        from pinfold.store.cluster import ClusterStore  # noqa: PLC0415

        return ClusterStore
    if kind == "psa":
        from pinfold.store.pinning import PinningStore  # noqa: PLC0415

        return PinningStore
    from pinfold.store.gateway import GatewayStore  # noqa: PLC0415

    return GatewayStore


def _folder(where: str, *, create: bool) -> Store:
    from pinfold import snapshot  # noqa: PLC0415
    from pinfold.ipld import CID  # noqa: PLC0415
    from pinfold.store import FolderStore, PlainFolder, address  # noqa: PLC0415

    path = Path(where.removeprefix("file://"))
    far = None if path.exists() else address.meant(where) or address.meant(path.name)
    if far is not None and not where.startswith("file://"):
        raise UsageError(f"{where} is no folder: was {far} meant? A folder of that name is file://{path.absolute()}")
    if create:
        return FolderStore.create(path)
    if not path.is_dir():
        raise UsageError(f"{path} is no folder: is the disk mounted? A new repository is made with: pinfold init")
    if (path / "snapshot.json").is_file() and (path / "blocks").is_dir():
        header = snapshot.Header.decode(read_bytes(path / "snapshot.json"))
        return PlainFolder(path, pin_name=header.pin_name, blocks=CID.parse(header.blocks_root))
    if not (path / "pinfold-store.json").exists():
        raise UsageError(f"{path} holds no repository: is the disk mounted? A new one is made with: pinfold init")
    return FolderStore.open(path)


@contextlib.contextmanager
def elsewhere(settings: Settings, text: str) -> Iterator[Settings | None]:
    """Settings for a snapshot that is no pin but a folder as `ipfs get` makes it, or a CAR file; None if neither.

    A CAR file is unpacked into a passing store beside the cache, which is gone afterwards.
    """
    path = Path(text)
    alone = dataclasses.replace(settings, repository_id=None, mirrors=(), min_copies=1)
    if (path / "snapshot.json").is_file():
        yield dataclasses.replace(alone, repository=str(path.absolute()))
    elif path.suffix == ".car" and path.is_file():
        import tempfile  # noqa: PLC0415

        from pinfold import transfer  # noqa: PLC0415
        from pinfold.store import FolderStore  # noqa: PLC0415

        settings.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="car-", dir=settings.cache) as folder:
            where = Path(folder) / "store"
            with contextlib.closing(FolderStore.create(where)) as passing, path.open("rb") as file:
                transfer.load(passing, file)
            yield dataclasses.replace(alone, repository=str(where))
    else:
        yield None
