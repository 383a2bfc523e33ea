"""Slots: each opens to whom it is for and to nobody else, and hostile ones cost nothing."""

import pyrage
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from pinfold.errors import KeyFailure, Malformed, UsageError
from pinfold.seal import canonical
from pinfold.seal.secret import Secret
from pinfold.seal.slots import (
    Identities,
    Passphrase,
    Slot,
    Stretch,
    age_slot,
    fingerprint_of,
    parse_identities,
    parse_recipient,
    passphrase_slot,
    unlock,
)
from seal.made import CHEAP, chance

SECRETS = Secret(b"the secrets of a repository")
REPOSITORY = "0011223344556677"
PBKDF2 = Stretch("pbkdf2-sha256", 10_000)


def ssh_pair(key: Ed25519PrivateKey | None = None) -> tuple[str, str]:
    """Return a private and a public SSH key as files hold them."""
    private = key or Ed25519PrivateKey.generate()
    formats = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return pem.decode(), private.public_key().public_bytes(*formats).decode()


def rsa_pair() -> tuple[str, str]:
    """Return a pair of RSA keys as SSH has them."""
    private = generate_private_key(65537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return pem.decode(), public.decode()


def x25519_pair() -> tuple[str, str]:
    """Return a pair of age's own keys."""
    identity = pyrage.x25519.Identity.generate()
    return f"# created: today\n\n{identity}\n", str(identity.to_public())


def stored(slot: Slot) -> Slot:
    """Return the slot as it comes back from keyring.json."""
    return Slot.parse(canonical.decode(canonical.encode(slot.document()), "slot"))


@pytest.mark.parametrize("pair", [x25519_pair, ssh_pair, rsa_pair])
def test_recipients(pair: type) -> None:
    """What is sealed to a recipient opens with its identity, among others' slots too, and with no other identity."""
    private, public = pair()
    mine = stored(
        age_slot(f"{public} me@host\n" if public.startswith("ssh") else public, "me", SECRETS, REPOSITORY, bytes)
    )
    other = age_slot(x25519_pair()[1], "you", SECRETS, REPOSITORY, bytes)
    right = Identities(parse_identities(private, "file"))
    assert SECRETS == unlock(right, [other, mine], REPOSITORY)
    for wrong in (Identities(parse_identities(x25519_pair()[0], "file")), Identities([]), Passphrase(Secret(b"p"))):
        with pytest.raises(KeyFailure, match=f"opens no slot of repository {REPOSITORY}"):
            unlock(wrong, [mine], REPOSITORY)


@pytest.mark.parametrize("stretch", [CHEAP, PBKDF2, Stretch(memory=64, iterations=2, lanes=8)])
def test_passphrases(stretch: Stretch) -> None:
    """What is sealed under a passphrase opens with it, whatever the stretching, and with no other."""
    slot = passphrase_slot(Secret(b"right"), "me", SECRETS, REPOSITORY, chance(1), stretch)
    other = passphrase_slot(Secret(b"other"), "me", SECRETS, REPOSITORY, chance(2), CHEAP)
    assert slot == stored(slot)
    assert SECRETS == unlock(Passphrase(Secret(b"right")), [other, slot], REPOSITORY)
    for wrong in (b"Right", b"right ", b"", b"r" * 1000):
        with pytest.raises(KeyFailure, match=r"the passphrase opens no slot .* \(slots: passphrase me\)"):
            unlock(Passphrase(Secret(wrong)), [slot], REPOSITORY)


def test_a_slot_is_bound_to_its_repository() -> None:
    """A passphrase slot that is moved to another repository does not open there."""
    slot = passphrase_slot(Secret(b"right"), "me", SECRETS, REPOSITORY, chance(1), CHEAP)
    with pytest.raises(KeyFailure):
        unlock(Passphrase(Secret(b"right")), [slot], "f" * 16)


def test_an_empty_passphrase_is_refused() -> None:
    """Nobody seals under nothing."""
    with pytest.raises(UsageError, match="passphrase is empty"):
        passphrase_slot(Secret(b""), "me", SECRETS, REPOSITORY, chance(1), CHEAP)


@pytest.mark.parametrize(
    "costs",
    [
        {"name": "argon2id", "iterations": 65, "memory_kib": 64, "lanes": 1},
        {"name": "argon2id", "iterations": 1 << 62, "memory_kib": 64, "lanes": 1},
        {"name": "argon2id", "iterations": 1, "memory_kib": (1 << 20) + 1, "lanes": 1},
        {"name": "argon2id", "iterations": 1, "memory_kib": 1 << 62, "lanes": 1},
        {"name": "argon2id", "iterations": 1, "memory_kib": 1 << 20, "lanes": 65},
        {"name": "argon2id", "iterations": 1, "memory_kib": 7, "lanes": 1},
        {"name": "argon2id", "iterations": 0, "memory_kib": 64, "lanes": 1},
        {"name": "argon2id", "iterations": -1, "memory_kib": 64, "lanes": 1},
        {"name": "argon2id", "iterations": True, "memory_kib": 64, "lanes": 1},
        {"name": "argon2id", "iterations": 1.5, "memory_kib": 64, "lanes": 1},
        {"name": "argon2id", "iterations": 1, "lanes": 1},
        {"name": "pbkdf2-sha256", "iterations": 100_000_001},
        {"name": "pbkdf2-sha256", "iterations": 9999},
        {"name": "scrypt", "iterations": 1},
        {"name": "", "iterations": 1},
        {"name": "argon2id", "iterations": 1, "memory_kib": 64, "lanes": 1, "salt": ""},
        {"name": "argon2id", "iterations": 1, "memory_kib": 64, "lanes": 1, "salt": "A" * 200},
        {"name": "argon2id", "iterations": 1, "memory_kib": 64, "lanes": 1, "salt": "no base64"},
    ],
)
def test_hostile_costs(costs: dict[str, object]) -> None:
    """Stretching that would eat time or memory, or is unknown, is refused before it begins."""
    slot = passphrase_slot(Secret(b"right"), "me", SECRETS, REPOSITORY, chance(1), CHEAP)
    document = slot.document() | {"kdf": {"salt": "AAAAAAAAAAAAAAAAAAAAAA==", **costs}}
    with pytest.raises(Malformed, match="keyring slot"):
        Slot.parse(document)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "rot13"},
        {"kind": 1},
        {"label": None},
        {"fingerprint": "00"},
        {"fingerprint": "0" * 15 + "G"},
        {"fingerprint": "A" * 16},
        {"sealed": "*"},
        {"sealed": ""},
        {"sealed": "AAAA"},
        {"sealed": 3},
        {"kdf": None},
        {"kdf": []},
    ],
)
def test_malformed_slots(change: dict[str, object]) -> None:
    """A slot with a part missing, of another type or out of bounds is refused."""
    slot = passphrase_slot(Secret(b"right"), "me", SECRETS, REPOSITORY, chance(1), CHEAP)
    with pytest.raises(Malformed):
        Slot.parse(slot.document() | change)
    others: list[object] = [None, [], "slot", 1]
    for other in others:
        with pytest.raises(Malformed):
            Slot.parse(other)


def test_slots_that_hold_rubbish() -> None:
    """What is no age file, and what was sealed under other costs, opens to nobody."""
    good = passphrase_slot(Secret(b"right"), "me", SECRETS, REPOSITORY, chance(1), CHEAP)
    rubbish = [
        Slot("age", "0" * 16, "a", b""),
        Slot("age", "0" * 16, "a", b"age-encryption.org/v1\n"),
        Slot("age", "0" * 16, "a", bytes(10_000)),
        Slot("passphrase", "0" * 16, "p", good.sealed[:-1], b"", CHEAP, good.salt),
        Slot("passphrase", "0" * 16, "p", good.sealed, b"", Stretch(iterations=2, memory=32, lanes=1), good.salt),
    ]
    for unlocker in (Identities([pyrage.x25519.Identity.generate()]), Passphrase(Secret(b"right"))):
        with pytest.raises(KeyFailure, match="opens no slot"):
            unlock(unlocker, rubbish, REPOSITORY)
    assert SECRETS == unlock(Passphrase(Secret(b"right")), [*rubbish, good], REPOSITORY)


@pytest.mark.parametrize(
    "text", ["", "age1", "age1xyz", "ssh-ed25519 AAAA", "ssh-dss AAAA", "pgp", "\0", "age1yubikey1"]
)
def test_what_is_no_recipient(text: str) -> None:
    """Text that names no recipient is a mistake of the caller's, in one line."""
    with pytest.raises(UsageError, match=r"is no (age )?recipient"):
        parse_recipient(text)


def test_what_is_no_identity() -> None:
    """A file that holds no identity is named, and nothing of its content."""
    secret = str(pyrage.x25519.Identity.generate())
    private, _ = ssh_pair()
    cases = [secret[:-1], secret.lower()[:-2], private[:-60], "AGE-PLUGIN-X-1Q", f"{secret}\nhunter2", "# none\n", ""]
    for text in cases:
        with pytest.raises(UsageError, match="key file") as caught:
            parse_identities(text, "key file")
        assert not any(part in str(caught.value) for part in ("SECRET", "hunter2", secret[20:40], private[40:60]))


def test_fingerprints() -> None:
    """A fingerprint is of the key, not of the comment behind it, and does not show the key."""
    _, public = ssh_pair()
    assert fingerprint_of(public, REPOSITORY) == fingerprint_of(f"  {public}  me@host ", REPOSITORY)
    assert fingerprint_of(public, REPOSITORY) != fingerprint_of(ssh_pair()[1], REPOSITORY)
    assert 16 == len(fingerprint_of(public, REPOSITORY))
