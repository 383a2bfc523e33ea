"""A repository, opened as far as somebody's keys go: by anyone, by its owner, by an agent; and made."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pinfold.clock import SystemClock
from pinfold.errors import Damaged, KeyFailure, PinfoldError, UsageError
from pinfold.wiring.secrets import AGENT_SUFFIX, find_agent, read_bytes, unlocker, write_agent
from pinfold.wiring.stores import store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pinfold.backup import Repository
    from pinfold.config import Settings
    from pinfold.ipld import CID
    from pinfold.reading import Reader
    from pinfold.seal.keyring import Keyring
    from pinfold.seal.keys import OwnerKey
    from pinfold.seal.refs import Ref
    from pinfold.seal.secret import Secret
    from pinfold.seal.slots import Stretch
    from pinfold.snapshot import Manifest, Snapshot
    from pinfold.store.seam import Store
    from pinfold.wiring.secrets import Ask


@dataclass(frozen=True, slots=True)
class Opened:
    """A store and the id of the repository in it: all that needs no key."""

    store: Store
    repository: str


@dataclass(frozen=True, slots=True)
class Owned:
    """A repository opened by its owner."""

    store: Store
    keyring: Keyring
    key: OwnerKey

    @property
    def repository(self) -> str:
        """The repository's id."""
        return self.keyring.repository.id

    def source_id(self, name: str) -> str:
        """The id of a source's name."""
        return self.key.agent("").source_id(name)

    def manifest(self, made: Snapshot) -> Manifest:
        """What a snapshot holds."""
        return made.open(self.key, self.store.get)

    @contextlib.contextmanager
    def reader(self, made: Snapshot) -> Iterator[Reader]:
        """What opens a snapshot's chunks."""
        from pinfold.reading import Reader  # noqa: PLC0415

        reader = Reader(self.store, self.key.opener(made.header.generation), threads=max(2, os.cpu_count() or 1))
        try:
            yield reader
        finally:
            reader.close()


@dataclass(frozen=True, slots=True)
class Made:
    """A new repository: its keyring's root, and the agent key file that was written, if one was.

    `beside`: the repositories that the store held already.
    """

    repository: str
    keyring: CID
    agent_key: Path | None
    beside: tuple[str, ...] = ()


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Opened]:
    """The store and its repository, without any key."""
    with store(settings) as where:
        yield Opened(where, _repository(settings, where))


def _repository(settings: Settings, where: Store) -> str:
    from pinfold import catalogue  # noqa: PLC0415

    if settings.repository_id is None:
        found = catalogue.repositories(where)
        ours = _ours(settings, where, found) if len(found) > 1 else []
        return ours[0] if len(ours) == 1 else catalogue.the_repository(where)
    found = catalogue.repositories(where)
    if not found:
        catalogue.the_repository(where)  # says why there is none
    if settings.repository_id not in found:
        raise UsageError(f"{where.name} holds no repository {settings.repository_id}")
    return settings.repository_id


def _ours(settings: Settings, where: Store, found: Sequence[str]) -> list[str]:
    """Those of several repositories that the keys at hand are for: nobody is asked for one."""
    if settings.agent_key is None and (settings.identity or settings.passphrase is not None):
        return [one for one in found if _opens(settings, where, one)]
    keys = _agents_of(settings)
    return [one for one in found if one in keys]


def _opens(settings: Settings, where: Store, repository: str) -> bool:
    from pinfold import catalogue  # noqa: PLC0415

    try:
        keyring = catalogue.newest_keyring(where, repository)
        keyring.open(unlocker(settings, keyring, None))
    except (KeyFailure, Damaged):
        return False  # nor is it chosen if it cannot be told
    return True


def _agents_of(settings: Settings) -> set[str]:
    """The ids of the repositories that agent keys are of: the key that is given, else all in the usual folder."""
    from pinfold.seal.keys import AgentKey  # noqa: PLC0415

    given = settings.agent_key
    found: set[str] = set()
    for path in settings.config_dir.glob(f"*{AGENT_SUFFIX}") if given is None else [given]:
        try:
            found.add(AgentKey.decode(read_bytes(path), str(path)).repository)
        except PinfoldError:
            continue  # of the one that is given `find_agent` tells; the others nobody named
    return found


@contextlib.contextmanager
def owned(settings: Settings, ask: Ask | None = None) -> Iterator[Owned]:
    """The repository opened with an identity or a passphrase.  `ask`: prompts for one on a terminal."""
    from pinfold import catalogue  # noqa: PLC0415

    with opened(settings) as found:
        keyring = catalogue.newest_keyring(found.store, found.repository)
        yield Owned(found.store, keyring, keyring.open(unlocker(settings, keyring, ask)))


@contextlib.contextmanager
def looked_at(settings: Settings) -> Iterator[Opened | Owned]:
    """The repository, opened by its owner where settings give a key, else without any; nobody is asked."""
    if settings.identity or settings.passphrase is not None:
        with owned(settings) as owner:
            yield owner
    else:
        with opened(settings) as found:
            yield found


@contextlib.contextmanager
def for_backup(settings: Settings, ask: Ask | None = None) -> Iterator[Repository]:
    """What a backup run needs: with an agent's key where there is one, else as the owner."""
    from pinfold import catalogue, rekey  # noqa: PLC0415
    from pinfold.backup import Repository  # noqa: PLC0415
    from pinfold.cache import Cache  # noqa: PLC0415

    with opened(settings) as found:
        keyring = catalogue.newest_keyring(found.store, found.repository)
        agent = find_agent(settings, keyring)
        owner = None
        if agent is None:
            otherwise = "; or the key of an agent that may save: --agent-key FILE, PINFOLD_AGENT_KEY"
            owner = Owned(found.store, keyring, keyring.open(unlocker(settings, keyring, ask, otherwise)))
            agent = owner.key.agent(rekey.OWNER)
        elif agent.owner != keyring.repository.owner:
            raise KeyFailure(f"the agent key is of another repository than {found.repository}")
        cache = Cache(settings.cache / found.repository)
        seen = cache.highest("keyring", keyring.sequence)
        try:
            if keyring.sequence < seen:
                raise KeyFailure(
                    f"{found.store.name} shows keyring {keyring.sequence}, this machine has seen {seen}: somebody"
                    f" rolled the repository back; if that was you, delete {settings.cache / found.repository}"
                )
            yield Repository(
                found.store,
                keyring,
                agent,
                cache,
                SystemClock(),
                pages=(lambda _: None) if owner is None else owner_pages(owner),
                node=None if owner is None else owner_node(owner),
            )
        finally:
            cache.close()


def owner_pages(owner: Owned) -> Callable[[Snapshot], tuple[Iterator[bytes], frozenset[bytes]] | None]:
    """How an owner reads the last index from the store, when the local cache is lost."""
    from pinfold.reading import DAMAGE  # noqa: PLC0415

    def pages(made: Snapshot) -> tuple[Iterator[bytes], frozenset[bytes]] | None:
        try:
            manifest = owner.manifest(made)
        except DAMAGE:
            return None  # the files are read anew; verify speaks of the damage

        def read() -> Iterator[bytes]:
            with owner.reader(made) as reader, contextlib.suppress(*DAMAGE):
                yield from reader.raw_pages(manifest.index)

        return read(), frozenset(manifest.sparse)

    return pages


def owner_node(owner: Owned) -> Callable[[Ref, int], bytes]:
    """How an owner reads a node of refs from the store."""

    def node(ref: Ref, generation: int) -> bytes:
        return owner.key.opener(generation).open(ref, owner.store.get(ref.cid))

    return node


def init(
    settings: Settings,
    *,
    recipients: Sequence[str],
    secret: Secret | None,
    stretch: Stretch,
    padding: bool = True,
    agent: str = "",
) -> Made:
    """Make a repository that the recipients, or a passphrase, can open.

    With recipients a key for this machine's agent is written, 0600, and everything else forgotten.
    """
    from pinfold import catalogue, rekey  # noqa: PLC0415
    from pinfold.seal import slots  # noqa: PLC0415
    from pinfold.seal.keyring import Agent, first_keyring  # noqa: PLC0415
    from pinfold.seal.keys import OwnerKey  # noqa: PLC0415
    from pinfold.store import power  # noqa: PLC0415
    from pinfold.store.seam import Fetches  # noqa: PLC0415

    if not recipients and secret is None:
        raise UsageError("nobody could open this repository: give --recipient KEY or a passphrase")
    clock = SystemClock()
    key = OwnerKey.new(clock.random)
    made = [
        slots.age_slot(
            one, f"recipient {number}", key.secrets(), key.repository, lambda data: key.hide(data, clock.random)
        )
        for number, one in enumerate(recipients, 1)
    ]
    if secret is not None:
        made.append(slots.passphrase_slot(secret, "passphrase", key.secrets(), key.repository, clock.random, stretch))
    agents = [Agent(rekey.OWNER, key.agent(rekey.OWNER).signer.public)]
    keyring = first_keyring(key, made, agents, padding=padding)
    written: Path | None = None
    if recipients:
        keyring, agent_key = rekey.new_agent(keyring, key, agent or f"agent-{clock.random(4).hex()}", clock)
        written = write_agent(settings, agent_key)
    try:
        with store(settings, create=True) as where:
            if power(where, Fetches) is not None:  # type: ignore[type-abstract]  # a protocol, asked for by isinstance
                raise UsageError(
                    f"{where.name} is a pinning service and takes no blocks: make the repository in a store that the"
                    " service can reach, and name the service among the mirrors in pinfold.toml"
                )
            beside = tuple(catalogue.repositories(where))
            root = rekey.publish(where, keyring)
    except PinfoldError:
        if written is not None:
            written.unlink(missing_ok=True)
        raise
    return Made(keyring.repository.id, root, written, beside)
