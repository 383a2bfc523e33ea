"""Keys by ability: an agent seals and signs and has nothing that opens; no key shows itself."""

import copy
import gc
import pickle
from collections.abc import Callable, Iterator

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.errors import Corrupt, KeyFailure, Malformed
from pinfold.ipld import dagcbor
from pinfold.seal import canonical
from pinfold.seal.box import Opener
from pinfold.seal.keys import (
    AgentKey,
    Generation,
    OwnerKey,
    SigningKey,
    derive,
    repository_id,
    verify_signature,
)
from pinfold.seal.secret import Secret
from pinfold.seal.slots import Passphrase
from seal.made import chance, owner

OWNER = owner()
AGENT = OWNER.agent("alpha", Secret(b"s" * 32))
FILE = AGENT.encode()


def test_an_agent_comes_back_from_its_file() -> None:
    """The agent of a key file seals, signs, cuts and names as the one that was written."""
    again = AgentKey.decode(FILE + b"\n", "file")
    assert FILE == again.encode()
    plain = b"some content" * 40
    assert AGENT.sealer().name(plain) == again.sealer().name(plain)
    assert [AGENT.signer.sign(b"x"), AGENT.source_id("a"), AGENT.secret_id(), AGENT.page_cut(b"p")] == [
        again.signer.sign(b"x"),
        again.source_id("a"),
        again.secret_id(),
        again.page_cut(b"p"),
    ]
    assert [AGENT.gear()._table, AGENT.bundle_cut()._key] == [again.gear()._table, again.bundle_cut()._key]


@given(st.integers(0, len(FILE) - 1), st.binary(max_size=2), st.integers(0, 2))
def test_changed_agent_files(at: int, put: bytes, cut: int) -> None:
    """A changed key file is refused, or it is the file of what it says; nothing of it is told."""
    changed = FILE[:at] + put + FILE[at + cut :]
    try:
        found = AgentKey.decode(changed, "file")
    except Malformed as error:
        assert AGENT._secret.reveal().hex() not in str(error)  # noqa: PT017  # either is right
    else:
        assert changed.strip() == found.encode()


@pytest.mark.parametrize(
    "change",
    [
        {"generation": -1},
        {"generation": 1 << 40},
        {"generation": True},
        {"secret": "00"},
        {"signing": None},
        {"owner": "x" * 64},
        {"format": "pinfold/2 agent"},
        {"name": 3},
    ],
)
def test_malformed_agent_files(change: dict[str, object]) -> None:
    """A key file whose parts are missing or out of bounds is refused by name."""
    with pytest.raises(Malformed, match="agent key file here"):
        AgentKey.decode(canonical.encode(canonical.decode(FILE, "x") | change), "here")


def test_an_agent_has_no_way_to_open() -> None:
    """Nothing that an agent has, or holds however deep, is called after opening or is a key that opens."""
    names = {name for one in _held(AGENT) for name in dir(one) if not name.startswith("__")}
    assert [] == [name for name in names if any(word in name for word in ("open", "decrypt", "unlock", "identity"))]
    openers = (Opener, OwnerKey, Generation, pyrage.x25519.Identity)
    assert [] == [one for one in _held(AGENT) if isinstance(one, openers)]
    assert [] == [one for one in _held(AGENT.sealer()) if isinstance(one, openers)]
    assert any(isinstance(one, Generation) for one in _held(OWNER))


def _held(top: object) -> Iterator[object]:
    """Give `top` and all that its attributes lead to; classes and modules lead nowhere."""
    seen: set[int] = set()
    waiting = [top]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, type):
            seen.add(id(one))
            yield one
            waiting += [other for other in gc.get_referents(one) if not isinstance(other, (str, bytes, int))]


def test_only_the_owner_opens_manifests() -> None:
    """What an agent seals to the public key opens with its generation, and with no other owner's or changed."""
    sealed = AGENT.seal_age(b"manifest")
    assert b"manifest" == OWNER.open_age(sealed, 0, "it")
    assert b"manifest" not in sealed
    for key, data in ((owner(2), sealed), (OWNER, sealed[:-1]), (OWNER, sealed[:-1] + b"x"), (OWNER, b"")):
        with pytest.raises(Corrupt, match="it is damaged in its seal"):
            key.open_age(data, 0, "it")


def test_generations() -> None:
    """An owner opens all its generations and no other; a new one shares no secret with the one before."""
    newer = OWNER.next_generation(chance(9))
    agent = newer.agent("alpha")
    sealed = agent.sealer().seal(b"x", agent.sealer().name(b"x")[1])
    assert [1, b"x"] == [newer.generation, newer.opener(1).open(sealed.ref, sealed.block)]
    with pytest.raises(Corrupt):
        newer.opener(0).open(sealed.ref, sealed.block)
    for unknown in (2, -1):
        with pytest.raises(Malformed, match="unknown to this keyring"):
            newer.opener(unknown)
    old = OWNER.agent("alpha")
    assert not {old.public_key, old.secret_id(), old.source_id("s")} & {
        agent.public_key,
        agent.secret_id(),
        agent.source_id("s"),
    }
    assert newer.opener(0).name(b"x") == OWNER.opener(0).name(b"x")


def test_who_signs() -> None:
    """The owner signs snapshots with one key in all generations, and no agent's file tells of it."""
    own = OWNER.agent("owner").signer.public
    assert own == OWNER.next_generation(chance(9)).agent("owner").signer.public
    assert own not in {AGENT.signer.public, OWNER.signer.public}
    assert own not in {SigningKey(derive(secret, "signing")).public for secret in (AGENT._secret, AGENT._signing)}


def test_secrets_come_back() -> None:
    """What a slot sealed makes the same owner again, and only of the repository it is of."""
    newer = OWNER.next_generation(chance(9))
    again = OwnerKey.from_secrets(newer.secrets(), OWNER.repository)
    assert (newer.public_key, newer.signer.public, 1) == (again.public_key, again.signer.public, again.generation)
    assert OWNER.repository == repository_id(again.signer.public)
    with pytest.raises(KeyFailure, match="another repository"):
        OwnerKey.from_secrets(owner(2).secrets(), OWNER.repository)


PAIR = {"identity": str(pyrage.x25519.Identity.generate()).encode(), "secret": b"s" * 32}


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        [],
        {"generations": [], "owner": b"o" * 32},
        {"generations": [PAIR] * 1025, "owner": b"o" * 32},
        {"generations": {}, "owner": b"o" * 32},
        {"generations": [None], "owner": b"o" * 32},
        {"generations": [PAIR | {"secret": 1 << 62}], "owner": b"o" * 32},
        {"generations": [PAIR | {"secret": b"short"}], "owner": b"o" * 32},
        {"generations": [PAIR | {"identity": b"\xff"}], "owner": b"o" * 32},
        {"generations": [PAIR | {"identity": b"AGE-SECRET-KEY-1"}], "owner": b"o" * 32},
        {"generations": [PAIR | {"identity": "text"}], "owner": b"o" * 32},
        {"generations": [PAIR], "owner": b"short"},
        {"generations": [PAIR], "owner": 1 << 62},
        {"generations": [PAIR]},
    ],
)
def test_rubbish_in_a_slot(document: object) -> None:
    """Whatever a slot holds besides secrets is one clear error."""
    with pytest.raises(KeyFailure, match="something other than its secrets"):
        OwnerKey.from_secrets(Secret(dagcbor.encode(document)), OWNER.repository)


@given(st.binary(max_size=60))
def test_any_bytes_in_a_slot(data: bytes) -> None:
    """Bytes that are no document at all are the same error."""
    with pytest.raises(KeyFailure):
        OwnerKey.from_secrets(Secret(data), OWNER.repository)


def test_signatures() -> None:
    """A signature holds for its key and message, and for no other, nor for a key that is none."""
    key = AGENT.signer
    signature = key.sign(b"message")
    verify_signature(key.public, signature, b"message", "it")
    for public, signed, message in (
        (key.public, signature, b"massage"),
        (key.public, signature[:-1] + b"\0", b"message"),
        (key.public, b"", b"message"),
        (OWNER.signer.public, signature, b"message"),
        (b"\xff" * 32, signature, b"message"),
        (b"short", signature, b"message"),
    ):
        with pytest.raises(KeyFailure, match="signature of it does not hold"):
            verify_signature(public, signed, message, "it")


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.parametrize(
    "key",
    [AGENT, OWNER, SigningKey(Secret(b"s" * 32)), AGENT.sealer(), AGENT.gear(), AGENT.bundle_cut(), OWNER.opener(0)],
)
def test_keys_cannot_be_copied_out(key: object, way: Callable[[object], object]) -> None:
    """No key can be pickled or copied."""
    with pytest.raises(TypeError, match="cannot"):
        way(key)


def test_no_key_shows_itself() -> None:
    """What keys print holds none of their secrets."""
    secret = Secret(b"hunter2-hunter2-hunter2-hunter2-")
    generation = Generation(Secret(str(pyrage.x25519.Identity.generate()).encode()), secret)
    key = OwnerKey("0" * 16, [generation], secret)
    agent = key.agent("alpha", secret)
    keys = [secret, generation, key, agent, agent.signer, agent.sealer(), key.opener(0), Passphrase(secret)]
    shown = f"{secret} {keys} {[vars(one) for one in (agent, key, keys[-1])]}"
    for forbidden in ("hunter2", secret.reveal().hex(), "SECRET-KEY", derive(secret, "chunk-key").reveal().hex()):
        assert forbidden not in shown


def test_a_secret_is_closed() -> None:
    """A secret cannot be pickled, hashed or changed by copying; equality is of content."""
    secret = Secret(b"abc")
    assert (3, "Secret(…)", Secret(b"abc"), True) == (len(secret), str(secret), copy.deepcopy(secret), secret != b"abc")
    assert secret is copy.copy(secret)
    for way in (pickle.dumps, hash):
        with pytest.raises(TypeError):
            way(secret)
    with pytest.raises(AttributeError):
        vars(secret)["x"] = secret.other  # type: ignore[attr-defined]


def test_uses_are_apart() -> None:
    """Sub-keys for different uses, and of different secrets, have nothing in common."""
    uses = ("tag", "chunk-key", "nonce", "source-id", "gear", "bundle", "page", "signing", "secret-id")
    keys = {derive(secret, use).reveal() for secret in (Secret(b"a" * 32), Secret(b"b" * 32)) for use in uses}
    assert 2 * len(uses) == len(keys)
