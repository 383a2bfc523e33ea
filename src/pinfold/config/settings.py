"""What can be set, and what holds where nothing is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

if TYPE_CHECKING:
    from pinfold.config.values import Duration

SecretKind = Literal["value", "file", "command"]


class SecretSource:
    """Where a secret is to be had: given by value, in a file, or printed by a command.

    Nothing is read or run here.  It cannot be printed or pickled, for the value may be in it.
    """

    __slots__ = ("_parts", "kind", "origin")

    def __init__(self, kind: SecretKind, parts: tuple[str, ...], origin: str) -> None:
        """`parts`: the value, the file's path, or a command's arguments; `origin`: what said so, for errors."""
        self.kind: SecretKind = kind
        self.origin = origin
        self._parts = parts

    @property
    def text(self) -> str:
        """The value, or the file's path."""
        return self._parts[0]

    @property
    def path(self) -> Path:
        """The file whose first line is the secret."""
        return Path(self._parts[0])

    @property
    def argv(self) -> tuple[str, ...]:
        """The program to run and its arguments, no shell in between; it prints the secret."""
        return self._parts

    def __repr__(self) -> str:
        return f"SecretSource({self.kind}, from {self.origin})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretSource) and (self.kind, self._parts) == (other.kind, other._parts)

    __hash__ = None  # type: ignore[assignment]  # a hash would tell of the value

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


@dataclass(frozen=True, slots=True)
class Access:
    """What opens a far store: a token, and the certificates its server's own must come from."""

    token: SecretSource | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """A source as the file describes it.

    `exclude_larger_than` in bytes; `interval`: seconds promised until the next snapshot, or None.
    """

    name: str
    path: Path
    type: str = "directory"
    exclude: tuple[str, ...] = ()
    exclude_file: tuple[Path, ...] = ()
    exclude_caches: bool = False
    exclude_if_present: tuple[str, ...] = ()
    exclude_larger_than: int | None = None
    one_file_system: bool = False
    ignore_inode: bool = False
    ignore_ctime: bool = False
    xattrs: bool = True
    tags: tuple[str, ...] = ()
    interval: int | None = None
    skip_unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """Which snapshots of a source are kept: the table [keep], the options --keep-….

    Numbers count the newest snapshot of each hour, day and so on; `within`: all of the last time
    before the newest; `tags`: all that carry one of these.
    """

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: Duration | None = None
    tags: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it would keep nothing at all."""
        return self == Policy()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set.  Paths are absolute; addresses may hold secrets and are not printed.

    `repository`: REPO; `repository_id`: 16 hex, where a store holds several; `mirrors`: further REPOs;
    `access`: by REPO; `min_copies`: how many stores must prove a pin before a snapshot is safe;
    `max_copies`: how many there shall be at most, None for as many as there are stores; `checkpoint`: seconds.
    """

    cache: Path
    config_dir: Path
    config_file: Path | None = None
    repository: str | None = field(default=None, repr=False)
    repository_id: str | None = None
    identity: tuple[Path, ...] = ()
    agent_key: Path | None = None
    passphrase: SecretSource | None = None
    host: str | None = None
    mirrors: tuple[str, ...] = field(default=(), repr=False)
    access: dict[str, Access] = field(default_factory=dict, repr=False)
    min_copies: int = 1
    max_copies: int | None = None
    checkpoint: int = 300
    check_all: bool = False
    keep: Policy = Policy()
    sources: dict[str, SourceSettings] = field(default_factory=dict)
