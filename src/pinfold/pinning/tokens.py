"""Tokens: who may ask the service, for what, and whose pins he sees.

A token is `pinfold_ID_SECRET`.  Only the SHA-256 of the whole is kept: 32 random bytes need no slow hash.
Tokens of one tenant share their pins; those of others do not exist for them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pinfold.clock import SystemClock
from pinfold.errors import UsageError
from pinfold.pinning import moments
from pinfold.seal.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Collection

    from pinfold.clock import Clock
    from pinfold.pinning.database import Database, Row

READ: Final = "read"
ADD: Final = "add"
DELETE: Final = "delete"
SCOPES: Final = (READ, ADD, DELETE)
_WORD: Final = re.compile(r"[\w.@-]{1,64}")
_FIELDS: Final = "id, label, tenant, scopes, created, expires"


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token, all but itself.  `created` and `expires` in microseconds."""

    id: str
    label: str
    tenant: str
    scopes: frozenset[str]
    created: int
    expires: int | None = None


class Tokens:
    """The tokens in a database."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        """`clock`: what tells the time, and draws the secrets."""
        self._database = database
        self._clock = clock or SystemClock()

    def add(
        self, label: str, *, tenant: str = "default", scopes: Collection[str] = SCOPES, seconds: float | None = None
    ) -> tuple[Token, Secret]:
        """Make a token; the secret is told this once.  `seconds`: how long it is good; None: until removed.

        Raises UsageError for words that make no sense.
        """
        wrong = [scope for scope in scopes if scope not in SCOPES]
        if wrong or not scopes:
            raise UsageError(
                f"a token is good for {', '.join(SCOPES)}: {', '.join(wrong) or 'nothing'} is none of them"
            )
        for what, word in (("label", label), ("tenant", tenant)):
            if not _WORD.fullmatch(word):
                raise UsageError(f"the {what} of a token is 1 to 64 letters, digits, or any of . _ @ -")
        now = moments.micros(self._clock.now())
        expires = None if seconds is None else now + int(seconds * moments.SECOND)
        number = self._clock.random(6).hex()
        secret = base64.urlsafe_b64encode(self._clock.random(32)).rstrip(b"=")
        whole = Secret(f"pinfold_{number}_".encode() + secret)
        token = Token(number, label, tenant, frozenset(scopes), now, expires)
        self._database.change(
            f"INSERT INTO tokens (hash, {_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  # no input in it
            (_hash(whole.reveal()), number, label, tenant, " ".join(sorted(token.scopes)), now, expires),
        )
        return token, whole

    def list(self) -> list[Token]:
        """All tokens, oldest first, those that expired too."""
        query = f"SELECT {_FIELDS} FROM tokens ORDER BY created, id"  # noqa: S608
        return [_token(row) for row in self._database.rows(query)]

    def remove(self, number: str) -> bool:
        """Take a token away, by its id; whether it was there.  Holds at the next request."""
        return self._database.change("DELETE FROM tokens WHERE id = ?", (number,)) > 0

    def find(self, presented: str) -> Token | None:
        """The token that was presented; None if there is none such, or its time is over."""
        parts = presented.split("_", 2)
        number = parts[1] if len(parts) == 3 else ""
        rows = self._database.rows(f"SELECT {_FIELDS}, hash FROM tokens WHERE id = ?", (number,))  # noqa: S608
        expected = rows[0][-1] if rows else bytes(32)
        if not hmac.compare_digest(_hash(presented.encode("utf-8", "surrogateescape")), expected) or not rows:
            return None
        token = _token(rows[0])
        if token.expires is not None and token.expires <= moments.micros(self._clock.now()):
            return None
        return token


def _hash(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _token(row: Row) -> Token:
    return Token(row[0], row[1], row[2], frozenset(row[3].split()), row[4], row[5])
