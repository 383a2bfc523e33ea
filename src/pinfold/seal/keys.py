"""Keys by ability.  An `AgentKey` seals and signs; only an `OwnerKey` opens.

Everything grows from the secrets in the keyring's slots: for each generation an X25519 key pair and
32 random bytes S, and once the owner's signing seed.  Sub-keys are BLAKE3 derive_key of S with the
context "pinfold 1 <use>".  An agent of a public-key repository holds the public key, S and a signing
key of its own.  Source: docs/format.md, "Keys".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyrage
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pinfold.errors import Corrupt, KeyFailure, Malformed
from pinfold.ipld import dagcbor
from pinfold.seal import canonical
from pinfold.seal.box import Opener, Sealer
from pinfold.seal.bundle import BundleCut
from pinfold.seal.chunker import Gear
from pinfold.seal.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinfold.seal.slots import AgeIdentity

AGENT_FORMAT: Final = "pinfold/1 agent"
MAX_GENERATIONS: Final = 1024


def derive(secret: Secret, use: str) -> Secret:
    """The sub-key of `secret` for one use."""
    return Secret(blake3(secret.reveal(), derive_key_context=f"pinfold 1 {use}").digest())


class SigningKey:
    """An Ed25519 key that signs."""

    __slots__ = ("_key", "public")

    def __init__(self, seed: Secret) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed.reveal())
        self.public = self._key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"SigningKey({self.public.hex()[:16]}…)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key cannot be pickled")

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(message)


def verify_signature(public: bytes, signature: bytes, message: bytes, what: str) -> None:
    """Raise KeyFailure unless `signature` over `message` holds; `what` names it in the error."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise KeyFailure(f"the signature of {what} does not hold: it was forged or changed") from error


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation's secrets: `identity` (an age X25519 identity as text) and S."""

    identity: Secret
    secret: Secret

    @classmethod
    def new(cls, random: Callable[[int], bytes]) -> Generation:
        """Fresh secrets; the key pair's randomness is the age library's own."""
        return cls(Secret(str(pyrage.x25519.Identity.generate()).encode()), Secret(random(32)))

    @property
    def public_key(self) -> str:
        """The age recipient that manifests are sealed to."""
        return str(self._pair().to_public())

    def _pair(self) -> AgeIdentity:
        return pyrage.x25519.Identity.from_str(self.identity.reveal().decode())

    def open_age(self, data: bytes, what: str) -> bytes:
        """Open an age file sealed to this generation.  Raises Corrupt."""
        try:
            return bytes(pyrage.decrypt(data, [self._pair()]))
        except pyrage.DecryptError as error:
            raise Corrupt(what, "its seal: it does not open with this repository's key") from error


class AgentKey:
    """Seals, signs, and names; has no way to open anything."""

    def __init__(
        self,
        *,
        repository: str,
        owner: bytes,
        name: str,
        generation: int,
        public_key: str,
        secret: Secret,
        signing: Secret,
    ) -> None:
        """`owner`: the owner's public signing key; `signing`: this agent's Ed25519 seed."""
        self.repository = repository
        self.owner = owner
        self.name = name
        self.generation = generation
        self.public_key = public_key
        self._secret = secret
        self._signing = signing
        self.signer = SigningKey(signing)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, repository {self.repository})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key cannot be pickled")

    def sealer(self, *, padding: bool = True) -> Sealer:
        """What seals this generation's chunks."""
        return Sealer(
            derive(self._secret, "chunk-key"), derive(self._secret, "nonce"), self.generation, padding=padding
        )

    def gear(self) -> Gear:
        """What cuts large files."""
        return Gear(derive(self._secret, "gear"))

    def bundle_cut(self) -> BundleCut:
        """What ends bundles."""
        return BundleCut(derive(self._secret, "bundle"))

    def page_cut(self, path: bytes) -> int:
        """32 keyed bits of a folder's path, which decide where index pages end."""
        return int.from_bytes(blake3(path, key=derive(self._secret, "page").reveal()).digest(length=4), "little")

    def source_id(self, name: str) -> str:
        """16 hex that stand for a source's name in public places."""
        return blake3(name.encode(), key=derive(self._secret, "source-id").reveal()).digest(length=8).hex()

    def secret_id(self) -> str:
        """16 hex that tell one generation's secret from another's."""
        return derive(self._secret, "secret-id").reveal()[:8].hex()

    def seal_age(self, data: bytes) -> bytes:
        """An age file only the owner opens.  Opened again and compared before it is returned.

        The public key alone cannot open; the proof is a second recipient whose key is forgotten here.
        """
        passing = pyrage.x25519.Identity.generate()
        recipients = [pyrage.x25519.Recipient.from_str(self.public_key), passing.to_public()]
        sealed = bytes(pyrage.encrypt(data, recipients))
        if pyrage.decrypt(sealed, [passing]) != data:
            raise Corrupt("manifest", "memory: what was just sealed does not open to what went in")
        return sealed

    def encode(self) -> bytes:
        """The agent key file's content: secret."""
        return canonical.encode(
            {
                "format": AGENT_FORMAT,
                "repository": self.repository,
                "owner": self.owner.hex(),
                "name": self.name,
                "generation": self.generation,
                "public_key": self.public_key,
                "secret": self._secret.reveal().hex(),
                "signing": self._signing.reveal().hex(),
            }
        )

    @classmethod
    def decode(cls, data: bytes, where: str) -> AgentKey:
        """The key in an agent key file; `where` names the file in errors.  Raises Malformed."""
        field = f"agent key file {where}"
        document = canonical.decode(data.strip(), field)
        if document.get("format") != AGENT_FORMAT:
            raise Malformed(field, f"its format is not {AGENT_FORMAT!r}")
        texts = {key: canonical.take(document, key, str, field) for key in _AGENT_TEXTS}
        generation = canonical.take(document, "generation", int, field)
        if not 0 <= generation < MAX_GENERATIONS:
            raise Malformed(field, f"generation {generation} is out of bounds")
        return cls(
            repository=texts["repository"],
            owner=canonical.unhex(texts["owner"], 32, field),
            name=texts["name"],
            generation=generation,
            public_key=texts["public_key"],
            secret=Secret(canonical.unhex(texts["secret"], 32, field)),
            signing=Secret(canonical.unhex(texts["signing"], 32, field)),
        )


_AGENT_TEXTS = ("repository", "owner", "name", "public_key", "secret", "signing")


class OwnerKey:
    """Everything: opens every generation, signs keyrings, makes agents."""

    def __init__(self, repository: str, generations: list[Generation], owner_seed: Secret) -> None:
        self.repository = repository
        self._generations = generations
        self._seed = owner_seed
        self.signer = SigningKey(owner_seed)

    def __repr__(self) -> str:
        return f"OwnerKey(repository {self.repository}, {len(self._generations)} generations)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key cannot be pickled")

    @classmethod
    def new(cls, random: Callable[[int], bytes]) -> OwnerKey:
        """The secrets of a new repository, whose id is a hash of the owner's public key."""
        seed = Secret(random(32))
        return cls(repository_id(SigningKey(seed).public), [Generation.new(random)], seed)

    @property
    def generation(self) -> int:
        """The newest generation's number, counted from 0."""
        return len(self._generations) - 1

    @property
    def public_key(self) -> str:
        """The newest generation's age recipient."""
        return self._generations[-1].public_key

    def next_generation(self, random: Callable[[int], bytes]) -> OwnerKey:
        """The same owner with one more generation."""
        return OwnerKey(self.repository, [*self._generations, Generation.new(random)], self._seed)

    def opener(self, generation: int) -> Opener:
        """What opens that generation's chunks.  Raises Malformed for an unknown generation."""
        secret = self._of(generation).secret
        return Opener(derive(secret, "chunk-key"), derive(secret, "nonce"), generation)

    def open_age(self, data: bytes, generation: int, what: str) -> bytes:
        """Open an age file of that generation.  Raises Corrupt or Malformed."""
        return self._of(generation).open_age(data, what)

    def agent(self, name: str, signing: Secret | None = None) -> AgentKey:
        """An agent of the newest generation; without `signing` it signs as the owner's own agent."""
        newest = self._generations[-1]
        return AgentKey(
            repository=self.repository,
            owner=self.signer.public,
            name=name,
            generation=self.generation,
            public_key=newest.public_key,
            secret=newest.secret,
            signing=signing or derive(self._seed, "signing"),
        )

    def hide(self, data: bytes, random: Callable[[int], bytes]) -> bytes:
        """Encrypt something small for the owner's eyes."""
        nonce = random(12)
        return nonce + AESGCM(derive(self._seed, "hide").reveal()).encrypt(nonce, data, None)

    def unhide(self, data: bytes) -> bytes:
        """What was hidden.  Raises KeyFailure."""
        try:
            return AESGCM(derive(self._seed, "hide").reveal()).decrypt(data[:12], data[12:], None)
        except (InvalidTag, ValueError) as error:
            raise KeyFailure("a slot's recipient was hidden by another owner") from error

    def secrets(self) -> Secret:
        """What slots seal."""
        pairs = [{"identity": one.identity.reveal(), "secret": one.secret.reveal()} for one in self._generations]
        return Secret(dagcbor.encode({"generations": pairs, "owner": self._seed.reveal()}))

    @classmethod
    def from_secrets(cls, secrets: Secret, repository: str) -> OwnerKey:
        """The key behind what a slot held.  Raises KeyFailure when it is another repository's."""
        try:
            key = cls._parse(dagcbor.decode(secrets.reveal(), "secrets"), repository)
        except (KeyError, TypeError, ValueError, AttributeError, Malformed, pyrage.IdentityError) as error:
            raise KeyFailure(f"a slot of repository {repository} holds something other than its secrets") from error
        if repository_id(key.signer.public) != repository:
            raise KeyFailure(f"a slot of repository {repository} holds the secrets of another repository")
        return key

    @classmethod
    def _parse(cls, document: object, repository: str) -> OwnerKey:
        if not isinstance(document, dict):
            raise TypeError
        pairs = document["generations"]
        if not isinstance(pairs, list) or not 1 <= len(pairs) <= MAX_GENERATIONS:
            raise TypeError
        generations = [Generation(_secret(pair["identity"]), _secret(pair["secret"])) for pair in pairs]
        if any(len(one.secret) != 32 or not one.public_key for one in generations):
            raise TypeError
        return cls(repository, generations, _secret(document["owner"]))

    def _of(self, generation: int) -> Generation:
        if not 0 <= generation < len(self._generations):
            raise Malformed("snapshot header", f"generation {generation} is unknown to this keyring")
        return self._generations[generation]


def _secret(value: object) -> Secret:
    if not isinstance(value, bytes):
        raise TypeError  # bytes(10**12) would ask for a terabyte
    return Secret(value)


def repository_id(owner: bytes) -> str:
    """16 hex: a repository is called by a hash of its owner's public signing key."""
    return blake3(owner, derive_key_context="pinfold 1 repository").digest(length=8).hex()
