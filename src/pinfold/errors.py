"""Every error pinfold raises on purpose, with the exit code it means.

    PinfoldError                 1   something failed; the message says what, where, what to do
    ├── UsageError               2   the caller asked for something that makes no sense
    │   └── ConfigError          2   settings, all mistakes told at once
    ├── StoreError               1   a store could not do its duty
    │   ├── Missing              4   a block is not there
    │   ├── Corrupt              4   bytes do not match their name
    │   ├── Incomplete           4   a pin was asked for, blocks below the root are missing
    │   ├── Full                 1   no room left; nothing that was pinned is touched
    │   ├── Unavailable          1   did not answer; trying again may help
    │   └── Refused              1   not allowed here (read-only, a token without the right)
    ├── Malformed                4   bytes that break their format; says where
    ├── Damaged                  4   a verification or restore met damage, the rest was done
    └── KeyFailure               5   wrong passphrase, no identity that opens, forged signature

Exit code 3, done but something was skipped, is no error: commands return it with their result.

Source: exit codes of docs/design.md, "Doors for people".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class PinfoldError(Exception):
    """Root of the tree.  `str()` is one clear line for a person."""

    exit_code: ClassVar[int] = 1


class UsageError(PinfoldError):
    """Arguments that make no sense together or name nothing."""

    exit_code = 2


class ConfigError(UsageError):
    """One or more mistakes in settings; `mistakes` holds a line for each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        """`mistakes`: one line per mistake, each naming its key and the reason."""
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(mistakes))


class StoreError(PinfoldError):
    """A store could not do its duty."""


class Missing(StoreError):
    """The block named `name` (a CID or a path, as text) is not in the store."""

    exit_code = 4

    def __init__(self, name: object, where: str = "") -> None:
        """`name`: what was asked for; `where`: the store that was asked."""
        self.name = str(name)
        super().__init__(f"block {name} is missing" + (f" from {where}" if where else ""))


class Corrupt(StoreError):
    """The bytes found under `name` do not hash to it."""

    exit_code = 4

    def __init__(self, name: object, where: str = "") -> None:
        """`name`: the CID asked for; `where`: the store or file that answered."""
        self.name = str(name)
        super().__init__(f"block {name} is damaged" + (f" in {where}" if where else ""))


class Incomplete(StoreError):
    """A pin was refused because blocks below the root are not there."""

    exit_code = 4

    def __init__(self, root: object, missing: Sequence[object]) -> None:
        """`root`: the CID to be pinned; `missing`: CIDs, at most the first thousand."""
        self.root = str(root)
        self.missing = tuple(missing)
        few = ", ".join(str(cid) for cid in self.missing[:3])
        more = f" and {len(self.missing) - 3} more" if len(self.missing) > 3 else ""
        super().__init__(f"cannot pin {root}: not all of its blocks are stored (missing {few}{more})")


class Full(StoreError):
    """There is no room left where blocks or pins are written."""


class Unavailable(StoreError):
    """The store did not answer, or answered that it cannot now; a retry may help."""


class Refused(StoreError):
    """The store understood and will not: read-only, or the token lacks the right."""


class Malformed(PinfoldError):
    """Bytes that break their format.

    The only error decoders raise.  `field` names the format and the place in it, as
    "dag-pb link 3" or "index page, column 'sizes'"; `offset` is the byte where known.
    """

    exit_code = 4

    def __init__(self, field: str, reason: str, offset: int | None = None) -> None:
        """`field`: format and place; `reason`: what is wrong there; `offset`: in bytes."""
        self.field = field
        self.reason = reason
        self.offset = offset
        at = f" at byte {offset}" if offset is not None else ""
        super().__init__(f"malformed {field}{at}: {reason}")


class Damaged(PinfoldError):
    """Work went on around damage; `names` says what is damaged."""

    exit_code = 4

    def __init__(self, message: str, names: Sequence[str] = ()) -> None:
        """`message`: one line for a person; `names`: CIDs and paths, as text."""
        self.names = tuple(names)
        super().__init__(message)


class KeyFailure(PinfoldError):
    """A wrong passphrase, no identity that opens, or a signature that does not hold."""

    exit_code = 5
