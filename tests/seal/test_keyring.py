"""The keyring: it comes back as it was signed, and nothing about it can be changed, swapped or added."""

import dataclasses
from random import Random

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.errors import KeyFailure, Malformed
from pinfold.seal import canonical
from pinfold.seal.keyring import MAX_AGENTS, Agent, Keyring, Repository, first_keyring, next_keyring
from pinfold.seal.secret import Secret
from pinfold.seal.slots import MAX_SLOTS, Identities, Passphrase
from seal.made import PASSPHRASE, age_slot_of, chance, keyring_of, owner, slot_of

OWNER = owner()
OTHER = owner(2)
IDENTITY = pyrage.x25519.Identity.generate()
AGE = age_slot_of(OWNER, str(IDENTITY.to_public()))
KEYRING = keyring_of(OWNER, [OWNER.agent("alpha")], [slot_of(OWNER), AGE])
PUBLIC, DOCUMENT = KEYRING.repository.encode(), KEYRING.encode()
REFUSED = (Malformed, KeyFailure)


def changed(document: bytes, **change: object) -> bytes:
    """Return a document with members put in its place."""
    return canonical.encode(canonical.decode(document, "x") | change)


def test_a_keyring_comes_back() -> None:
    """What is stored decodes to the same keyring, which opens with passphrase and identity to the same owner."""
    again = Keyring.decode(PUBLIC, DOCUMENT)
    assert (KEYRING, DOCUMENT) == (again, again.encode())
    for unlocker in (Passphrase(PASSPHRASE), Identities([IDENTITY])):
        assert OWNER.secrets() == again.open(unlocker).secrets()
    assert again.agents[0] == again.agent(OWNER.agent("alpha").signer.public)
    assert None is again.agent(bytes(32))


@pytest.mark.parametrize(("document", "other"), [(PUBLIC, DOCUMENT), (DOCUMENT, PUBLIC)])
def test_any_changed_byte_is_refused(document: bytes, other: bytes) -> None:
    """Whichever byte of repository.json or keyring.json is changed, the keyring is refused."""
    random = Random(4)
    for at in range(len(document)):
        wrong = document[:at] + bytes([document[at] ^ (1 << random.randrange(8))]) + document[at + 1 :]
        with pytest.raises(REFUSED):
            Keyring.decode(wrong, other) if document is PUBLIC else Keyring.decode(other, wrong)


@given(st.binary(max_size=100), st.integers(0, len(DOCUMENT)), st.integers(0, 100))
def test_any_other_bytes_are_refused(put: bytes, at: int, cut: int) -> None:
    """Whatever is put in or taken out, the keyring is refused unless it is the same."""
    wrong = DOCUMENT[:at] + put + DOCUMENT[at + cut :]
    try:
        assert KEYRING == Keyring.decode(PUBLIC, wrong)
        assert wrong == DOCUMENT
    except REFUSED:
        assert wrong != DOCUMENT


def test_nothing_unsigned_rides_along() -> None:
    """Members that no signature covers are refused wherever they are put."""
    listed = canonical.decode(DOCUMENT, "x")
    slots, agents = listed["slots"], listed["agents"]
    assert isinstance(slots, list)
    assert isinstance(agents, list)
    for wrong in (
        changed(DOCUMENT, note="send your passphrase to …"),
        changed(DOCUMENT, slots=[slots[0] | {"note": ""}, *slots[1:]]),
        changed(DOCUMENT, slots=[slots[0], slots[1] | {"kdf": slots[0]["kdf"]}]),
        changed(DOCUMENT, agents=[agents[0] | {"note": ""}]),
    ):
        with pytest.raises(Malformed, match="says more"):
            Keyring.decode(PUBLIC, wrong)
    for wrong in (changed(PUBLIC, note=""), changed(PUBLIC, chunker={"name": "none"})):
        with pytest.raises(Malformed, match=r"repository\.json"):
            Keyring.decode(wrong, DOCUMENT)


def test_another_repository() -> None:
    """Keyrings and public documents of different repositories do not go together, however they are dressed up."""
    stranger = keyring_of(OTHER)
    disguised = changed(stranger.encode(), repository=OWNER.repository)
    for public, document in (
        (PUBLIC, stranger.encode()),
        (stranger.repository.encode(), DOCUMENT),
        (PUBLIC, disguised),
        (changed(PUBLIC, owner=OTHER.signer.public.hex()), disguised),
        (changed(stranger.repository.encode(), repository=OWNER.repository), disguised),
        (PUBLIC, stranger.signed(OTHER).encode()),
    ):
        with pytest.raises(KeyFailure):
            Keyring.decode(public, document)
    forged = dataclasses.replace(KEYRING, agents=(Agent("mallory", OTHER.signer.public),)).signed(OTHER)
    with pytest.raises(KeyFailure, match="signature of keyring 0"):
        Keyring.decode(PUBLIC, forged.encode())


def test_swapped_slots() -> None:
    """Slots that change places or names without the owner are refused."""
    listed = canonical.decode(DOCUMENT, "x")["slots"]
    assert isinstance(listed, list)
    for wrong in ([listed[1], listed[0]], [listed[0]], [listed[0], listed[1] | {"label": "desktop"}], []):
        with pytest.raises(KeyFailure, match="does not hold"):
            Keyring.decode(PUBLIC, changed(DOCUMENT, slots=wrong))


def test_slots_of_another_repository() -> None:
    """An owner who lists slots of another repository, by mistake or malice, opens nothing of either with them."""
    listed = [slot_of(OTHER), age_slot_of(OTHER, str(IDENTITY.to_public()))]
    keyring = first_keyring(OWNER, listed, [], padding=True)
    with pytest.raises(KeyFailure, match="opens no slot"):
        keyring.open(Passphrase(PASSPHRASE))
    with pytest.raises(KeyFailure, match="another repository"):
        keyring.open(Identities([IDENTITY]))


def test_secrets_of_another_generation() -> None:
    """A slot that was not sealed again for the newest generation is told."""
    newer = OWNER.next_generation(chance(3))
    late = next_keyring(KEYRING, newer)
    with pytest.raises(KeyFailure, match="different generations"):
        late.open(Passphrase(PASSPHRASE))
    good = next_keyring(KEYRING, newer, slot_list=[slot_of(newer)])
    assert newer.secrets() == Keyring.decode(PUBLIC, good.encode()).open(Passphrase(PASSPHRASE)).secrets()


def test_recipients_are_for_the_owner() -> None:
    """Whom an age slot is for is hidden from strangers, and told to the owner, who seals to them again."""
    recipient = str(IDENTITY.to_public())
    assert recipient.encode() not in DOCUMENT
    assert recipient.encode() == OWNER.unhide(Keyring.decode(PUBLIC, DOCUMENT).slots[1].recipient)
    for key, data in ((OTHER, AGE.recipient), (OWNER, AGE.recipient[:-1]), (OWNER, b"")):
        with pytest.raises(KeyFailure, match="hidden by another owner"):
            key.unhide(data)


def test_the_next_keyring() -> None:
    """The next keyring counts on, keeps what is not changed, and never loses the last slot."""
    following = next_keyring(KEYRING, OWNER, agents=[])
    assert (1, KEYRING.slots, ()) == (following.sequence, following.slots, following.agents)
    assert following == Keyring.decode(PUBLIC, following.encode())
    with pytest.raises(KeyFailure, match="last slot"):
        next_keyring(KEYRING, OWNER, slot_list=[])


def test_bounds() -> None:
    """More slots or agents than allowed, and numbers below zero, are refused before any signature is looked at."""
    slot, agent = (canonical.decode(DOCUMENT, "x")[key] for key in ("slots", "agents"))
    assert isinstance(slot, list)
    assert isinstance(agent, list)
    changes: list[dict[str, object]] = [
        {"slots": slot[1:] * (MAX_SLOTS + 1)},
        {"agents": [{"key": "", "name": "", "until": ""}] * (MAX_AGENTS + 1)},
        {"sequence": -1},
        {"generation": -1},
        {"generation": None},
        {"slots": {}},
        {"agents": [1]},
        {"agents": [agent[0] | {"key": "00"}]},
        {"signature": "00"},
        {"public_key": 1},
    ]
    for change in changes:
        with pytest.raises(Malformed):
            Keyring.decode(PUBLIC, changed(DOCUMENT, **change))


@given(st.booleans(), st.binary(min_size=32, max_size=32))
def test_repositories_come_back(padding: bool, seed: bytes) -> None:
    """repository.json comes back; its id is a hash of the owner's key and of no other."""
    key = first_keyring(OWNER, [], [], padding=padding).repository
    assert (key, key.encode()) == (Repository.decode(key.encode()), Repository.decode(key.encode()).encode())
    assert Secret(seed) != OWNER.secrets()
    with pytest.raises(REFUSED):
        Repository.decode(changed(key.encode(), owner=seed.hex()))


@pytest.mark.parametrize(
    "change", [{"format": "pinfold/2"}, {"padding": "maybe"}, {"owner": 1}, {"repository": "x" * 16}]
)
def test_malformed_repositories(change: dict[str, object]) -> None:
    """Another format, an unknown padding, and an id that is not the owner's are refused."""
    with pytest.raises(REFUSED):
        Repository.decode(changed(PUBLIC, **change))
