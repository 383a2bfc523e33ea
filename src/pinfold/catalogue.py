"""What a repository holds, read off the pin list of its store: snapshots, keyrings, and who follows whom.

Nothing is kept here: the pin list is the catalogue, and everything else is a cache of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold import snapshot
from pinfold.errors import (
    Corrupt,
    Damaged,
    KeyFailure,
    Malformed,
    Missing,
    PinfoldError,
    StoreError,
    Unavailable,
    UsageError,
)
from pinfold.ipld import CID
from pinfold.store import Mirror, power
from pinfold.store.seam import Fetches, Named, Pin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinfold.seal.keyring import Keyring
    from pinfold.snapshot import Snapshot
    from pinfold.store.seam import Store

PREFIX: Final = "pinfold/"
_KEYRING: Final = "keyring"
_SHORTEST: Final = 4
_BEFORE_A_CID: Final = ("/ipfs/", "ipfs://")
_NO_LIST: Final = (
    "{} has no list of pins, so it cannot tell which snapshots there are: name one by its whole CID to restore, ls,"
    " find, diff, verify or export it; for all else use a store that keeps the pins"
)


class Listed(NamedTuple):
    """A snapshot by its pin name alone, nothing fetched."""

    root: CID
    repository: str
    source: str
    kind: str
    finished: str

    @classmethod
    def of(cls, pin: Pin) -> Listed | None:
        """The snapshot a pin names, or None for other pins."""
        steps = pin.name.split("/")
        if len(steps) != 5 or steps[0] != "pinfold" or steps[3] not in snapshot.KINDS:
            return None
        return cls(pin.root, *steps[1:])


def repositories(store: Store) -> list[str]:
    """The ids of the repositories in a store."""
    return sorted({pin.name.split("/")[1] for pin in pins(store, PREFIX) if pin.name.count("/") >= 2})


def pins(store: Store, prefix: str) -> Iterator[Pin]:
    """The pins, or of a store that has no list of any: the snapshots it is asked about, as they would be pinned.

    Raises what the store raises, Damaged where such a snapshot cannot be had.
    """
    lone = power(store, Named)  # type: ignore[type-abstract]  # a protocol, asked for by isinstance
    if lone is None:
        yield from store.pins(prefix)
        return
    for root in lone.roots:
        name = _stranger(store, root).header.pin_name
        if name.startswith(prefix):
            yield Pin(root, name)


def the_repository(store: Store) -> str:
    """The id of the only repository.  Raises UsageError when there is none, or several."""
    found = repositories(store)
    if not found:
        raise UsageError(_nothing_in(store))
    if len(found) > 1:
        raise UsageError(
            f"{store.name} holds several repositories: {_which_where(store, found)}; choose one with --repository-id ID"
            f" or export PINFOLD_REPOSITORY_ID=ID"
        )
    return found[0]


def _nothing_in(store: Store) -> str:
    if power(store, Named) is not None:  # type: ignore[type-abstract]
        return _NO_LIST.format(store.name)
    if power(store, Fetches) is not None:  # type: ignore[type-abstract]
        return (
            f"{store.name} is a pinning service, and has pinned no repository under its name; it takes no blocks: make"
            " it a mirror of a store that it can reach (mirrors in pinfold.toml), or bring what another store has with:"
            f" pinfold replicate --from REPO --to {store.name}"
        )
    return (
        f"{store.name} holds no repository: is this the right place, and its disk mounted? A new one is made with:"
        f" pinfold init {store.name}"
    )


def _which_where(store: Store, found: list[str]) -> str:
    """The ids, of several stores those of each."""
    if not isinstance(store, Mirror):
        return ", ".join(found)
    return "; ".join(f"{one.name} holds {', '.join(repositories(one)) or 'none'}" for one in store.healthy)


def newest_keyring(store: Store, repository: str) -> Keyring:
    """The keyring with the highest sequence whose signature holds, from wherever it lies.

    Keyrings stand alone and in every snapshot; damage to some is survived.
    Raises KeyFailure when none is valid, Damaged when that may be for damage.
    """
    problems: list[str] = []
    damage: list[str] = []
    made = [one.root for one in listed(store, repository)]
    alone = [pin.root for pin in pins(store, f"{PREFIX}{repository}/{_KEYRING}/")]
    for roots in ([*alone, *made[-1:]], made):
        found = [_try(store, root, repository, problems, damage) for root in roots]
        valid = [keyring for keyring in found if keyring is not None]
        if valid:
            # By what the owner signed, not by the pin's name: whoever keeps the store can name an old one new.
            return max(valid, key=lambda keyring: keyring.sequence)
    if damage:
        raise Damaged(
            f"no keyring of repository {repository} in {store.name} can be read: {damage[0]}; bring the files of the"
            " store back, or pinfold import a CAR file of one of its snapshots",
            damage,
        )
    why = f": {problems[0]}" if problems else ""
    raise KeyFailure(f"no valid keyring of repository {repository} in {store.name}{why}")


def _try(store: Store, root: CID, repository: str, problems: list[str], damage: list[str]) -> Keyring | None:
    try:
        keyring = snapshot.load_keyring(root, store.get)
    except Unavailable:
        raise  # an older keyring may let sign who was removed since
    except (Missing, Corrupt) as error:
        damage.append(str(error))
        return None
    except (StoreError, Malformed, KeyFailure) as error:
        problems.append(str(error))
        return None
    return keyring if keyring.repository.id == repository else None


def keyring_sequence(pin: Pin) -> int:
    """The sequence a keyring's pin tells, -1 where it tells none."""
    tail = pin.name.rsplit("/", 1)[-1]
    return int(tail) if tail.isascii() and tail.isdigit() and len(tail) < 18 else -1


def keyring_pin(keyring: Keyring) -> str:
    """The name a keyring is pinned under."""
    return f"{PREFIX}{keyring.repository.id}/{_KEYRING}/{keyring.sequence}"


def listed(store: Store, repository: str, source: str = "") -> list[Listed]:
    """Snapshots by pin name, oldest first; of one source when its id is given."""
    prefix = f"{PREFIX}{repository}/" + (f"{source}/" if source else "")
    found = (Listed.of(pin) for pin in pins(store, prefix))
    return sorted((one for one in found if one), key=lambda one: (one.finished, str(one.root)))


def snapshots(
    store: Store, repository: str, source: str = "", broken: Callable[[Listed, PinfoldError], None] | None = None
) -> Iterator[Snapshot]:
    """Every snapshot, oldest first; those that cannot be read are told to `broken` and passed over."""
    keyring = newest_keyring(store, repository)
    for one in listed(store, repository, source):
        try:
            loaded = load(one, store, keyring)
        except (StoreError, Malformed, KeyFailure) as error:
            if broken is None:
                raise
            broken(one, error)
        else:
            yield loaded


def load(one: Listed, store: Store, keyring: Keyring) -> Snapshot:
    """A snapshot that is what its pin says, by an agent the newest keyring still lets sign.

    Raises Missing, Corrupt, Malformed, KeyFailure.
    """
    loaded = snapshot.load(one.root, store.get)
    check(loaded, one, keyring)
    return loaded


def check(made: Snapshot, one: Listed, keyring: Keyring) -> None:
    """Raise KeyFailure unless a snapshot is what its pin says, by an agent that may sign."""
    header = made.header
    if (header.repository, header.source, header.kind, header.finished) != one[1:]:
        raise KeyFailure(f"snapshot {one.root} is pinned under another snapshot's name: forged, or pinned by hand")
    snapshot.check_agent(made, keyring)


def previous(store: Store, repository: str, source: str, agent: str) -> Snapshot | None:
    """This agent's newest finished snapshot of a source."""
    finished = [one for one in listed(store, repository, source) if one.kind != "checkpoint"]
    return next(_of_agent(store, repository, finished, agent), None)


def checkpoints(store: Store, repository: str, source: str, agent: str) -> list[CID]:
    """The roots of this agent's checkpoints of a source, newest first: its next snapshot takes their place."""
    begun = [one for one in listed(store, repository, source) if one.kind == "checkpoint"]
    return [one.root for one in _of_agent(store, repository, begun, agent)]


def _of_agent(store: Store, repository: str, among: list[Listed], agent: str) -> Iterator[Snapshot]:
    """Those of `among` that can be read and are this agent's, newest first."""
    if not among:
        return
    keyring = newest_keyring(store, repository)
    for one in reversed(among):
        try:
            found = load(one, store, keyring)
        except (StoreError, Malformed, KeyFailure):
            continue  # verify is who speaks of damage; the chain goes on from the newest whole one
        if found.header.agent == agent:
            yield found


def find(store: Store, repository: str | None, text: str, source_id: Callable[[str], str] | None = None) -> Snapshot:
    """The snapshot a person means: `latest`, `latest:NAME`, a root or id, or the unique end of one.

    `source_id` turns a source's name into its id.  Raises UsageError for none or several.
    """
    if text.startswith("latest"):
        return _latest(store, repository or the_repository(store), text, source_id)
    text = bare(text)
    whole = _whole(text)
    if whole is not None and repository is None and not repositories(store):
        return _stranger(store, whole)  # a gateway has no pin list
    repository = repository or the_repository(store)
    matches = [one for one in listed(store, repository) if _matches(str(one.root), text)]
    if len(matches) == 1:
        return load(matches[0], store, newest_keyring(store, repository))
    if not matches:
        by_id = [one for one in snapshots(store, repository, broken=_pass) if _matches(str(one.id), text)]
        if len(by_id) == 1:
            return by_id[0]
        if whole is not None and not by_id:
            return _stranger(store, whole)
        matches = [one for one in listed(store, repository) if any(one.root == other.root for other in by_id)]
    if not matches:
        raise UsageError(f"no snapshot {text!r} in {store.name}; see: pinfold snapshots")
    few = ", ".join(str(one.root) for one in matches[:3])
    raise UsageError(f"{text!r} means {len(matches)} snapshots ({few}…); give more of the CID")


def _stranger(store: Store, root: CID) -> Snapshot:
    try:
        return snapshot.load(root, store.get)
    except (Missing, Malformed) as error:
        if power(store, Named) is None:  # type: ignore[type-abstract]
            raise UsageError(f"no snapshot {root} in {store.name}; see: pinfold snapshots") from error
        if isinstance(error, Missing):
            raise Damaged(
                f"snapshot {root} cannot be read from {store.name}: it lacks block {error.name}", [error.name]
            ) from error
        raise UsageError(f"snapshot {root} cannot be read from {store.name}: {error}") from error


def _latest(store: Store, repository: str, text: str, source_id: Callable[[str], str] | None) -> Snapshot:
    _, colon, name = text.partition(":")
    if text not in {"latest", f"latest:{name}"}:
        raise UsageError(f"{text!r} is no snapshot; did you mean latest or latest:NAME?")
    source = ""
    if colon:
        if source_id is None:
            raise UsageError("latest:NAME needs a key, because names of sources are sealed; give a CID instead")
        source = source_id(name)
    found = [one for one in listed(store, repository, source) if one.kind != "checkpoint"]
    if not found:
        raise UsageError(
            f"no snapshot{f' of {name}' if name else ''} in {store.name} yet; make one with: pinfold backup"
        )
    keyring = newest_keyring(store, repository)
    forged: KeyFailure | None = None
    for one in reversed(found):
        try:
            return load(one, store, keyring)
        except KeyFailure as error:
            forged = forged or error  # whoever may pin can pin anything; what is not signed for is no snapshot of ours
    raise forged or KeyFailure(f"no snapshot in {store.name} is signed by an agent of the repository")


def is_cid(text: str) -> bool:
    """Whether a text is a whole CID."""
    return _whole(text) is not None


def bare(text: str) -> str:
    """The CID of an address as browsers show it, /ipfs/CID or ipfs://CID; any other text as it is."""
    before = next((one for one in _BEFORE_A_CID if text.lower().startswith(one)), "")
    cid = text[len(before) :].rstrip("/")
    return cid if before and is_cid(cid) else text


def _whole(text: str) -> CID | None:
    try:
        return CID.parse(text)
    except Malformed:
        return None


def _matches(cid: str, text: str) -> bool:
    # CIDs share their first letters, so people may give the end as well as the beginning.
    return cid == text or (len(text) >= _SHORTEST and (cid.startswith(text) or cid.endswith(text)))


def _pass(_: Listed, __: PinfoldError) -> None:
    """A broken snapshot is no candidate; `verify` names it."""
