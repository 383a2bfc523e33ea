"""The tools that are measured, and the command lines they are measured with.

Each one encrypts, compresses with zstd at its default or most comparable level, shows no progress, and keeps its
repository, cache, logs and settings in a folder of its own: nobody's own settings help or hinder it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

PASSPHRASE: Final = "correct horse battery staple"  # noqa: S105  # guards nothing
# A warning is no failure: what it stands for is found by the check of the restored tree.
_WARNED: Final = {"pinfold": 3, "restic": 3, "borg": 1}


class Command(NamedTuple):
    """A program with its arguments, and the folder it runs in (None: any)."""

    words: list[str]
    folder: Path | None = None


class Tool(ABC):
    """One tool with one repository.  `folder` is its own: repository, cache, settings."""

    name: ClassVar[str]
    version_words: ClassVar[tuple[str, ...]]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.home = folder / "home"

    def environment(self) -> dict[str, str]:
        """What the tool sees of the outer world: paths to programs, no settings."""
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        return kept | {"HOME": str(self.home), "XDG_CACHE_HOME": str(self.folder / "cache"), "LC_ALL": "C.UTF-8"}

    def is_fine(self, code: int) -> bool:
        """Whether a run with this exit code did its work."""
        return code in {0, _WARNED.get(self.name, 0)}

    def prepare(self) -> list[Command]:
        """Make the folders; returns what makes the repository."""
        self.home.mkdir(parents=True)
        return self.init()

    @abstractmethod
    def init(self) -> list[Command]:
        """What makes the repository; not timed."""

    @abstractmethod
    def backup(self, source: Path) -> Command:
        """Save `source` as a new snapshot of the same source."""

    @abstractmethod
    def restore(self, source: Path, target: Path) -> Command:
        """Write all of the newest snapshot of `source` into `target`, an empty folder."""

    @abstractmethod
    def restore_one(self, source: Path, target: Path, name: str) -> Command:
        """Write the file `name` (relative to `source`, plain letters) from its newest snapshot below `target`."""


class Pinfold(Tool):
    """Ours, as `pinfold init` makes it: a folder as store, blocks padded."""

    name = "pinfold"
    version_words = ("pinfold", "--version")

    def environment(self) -> dict[str, str]:
        """As for all; settings and the agent's key stay in its folder."""
        own = {
            "PINFOLD_REPOSITORY": str(self.repository),
            "PINFOLD_PASSPHRASE_FILE": str(self.folder / "passphrase"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }
        return super().environment() | own

    def init(self) -> list[Command]:
        """A passphrase, stretched with Argon2id as by default."""
        file = self.folder / "passphrase"
        file.write_text(f"{PASSPHRASE}\n", encoding="utf-8")
        file.chmod(0o600)
        return [Command(["pinfold", "init", "-q"])]

    def backup(self, source: Path) -> Command:
        """`pinfold backup`."""
        return Command(["pinfold", "backup", "-q", str(source), "--name", "bench"])

    def restore(self, source: Path, target: Path) -> Command:  # noqa: ARG002  # the snapshot is named, not its path
        """`pinfold restore`."""
        return Command(["pinfold", "restore", "-q", "latest:bench", str(target)])

    def restore_one(self, source: Path, target: Path, name: str) -> Command:
        """`pinfold restore --include`."""
        whole = self.restore(source, target)
        return Command([*whole.words, "--include", f"/{name}"])


class Restic(Tool):
    """`--compression auto` is zstd at its default level."""

    name = "restic"
    version_words = ("restic", "version")

    def environment(self) -> dict[str, str]:
        """As for all."""
        own = {
            "RESTIC_REPOSITORY": str(self.repository),
            "RESTIC_PASSWORD": PASSPHRASE,
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
        }
        return super().environment() | own

    def init(self) -> list[Command]:
        """Format 2, which compresses."""
        return [Command(["restic", "-q", "init"])]

    def backup(self, source: Path) -> Command:
        """`restic backup`, without the walk ahead that only its progress bar needs."""
        return Command(["restic", "-q", "--compression", "auto", "backup", "--no-scan", str(source)])

    def restore(self, source: Path, target: Path) -> Command:
        """`restic restore`, its paths cut off."""
        return Command(["restic", "-q", "restore", f"latest:{source}", "--target", str(target)])

    def restore_one(self, source: Path, target: Path, name: str) -> Command:
        """Only the file's own folder is looked at: its shortest way."""
        file = source / name
        whole = self.restore(file.parent, target)
        return Command([*whole.words, "--include", f"/{file.name}"])


class Kopia(Tool):
    """Its default splitter, hash and cipher; the policy says zstd, and that no folder is left out."""

    name = "kopia"
    version_words = ("kopia", "--version")

    def environment(self) -> dict[str, str]:
        """As for all."""
        own = {
            "KOPIA_PASSWORD": PASSPHRASE,
            "KOPIA_CONFIG_PATH": str(self.folder / "repository.config"),
            "KOPIA_CACHE_DIRECTORY": str(self.folder / "cache"),
            "KOPIA_LOG_DIR": str(self.folder / "log"),
            "KOPIA_CHECK_FOR_UPDATES": "false",
        }
        return super().environment() | own

    def init(self) -> list[Command]:
        """The repository and its policy."""
        return [
            Command(["kopia", "repository", "create", "filesystem", "--path", str(self.repository)]),
            Command(["kopia", "policy", "set", "--global", "--compression=zstd", "--ignore-cache-dirs=false"]),
        ]

    def backup(self, source: Path) -> Command:
        """`kopia snapshot create`."""
        return Command(["kopia", "--no-progress", "snapshot", "create", str(source)])

    def restore(self, source: Path, target: Path) -> Command:
        """`kopia snapshot restore`."""
        return Command(["kopia", "--no-progress", "snapshot", "restore", str(source), str(target)])

    def restore_one(self, source: Path, target: Path, name: str) -> Command:
        """The file's path is the snapshot's name."""
        return self.restore(source / name, target / Path(name).name)


class Borg(Tool):
    """`-C zstd,3`; the hash is whichever its handbook recommends for the processor."""

    name = "borg"
    version_words = ("borg", "--version")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.count = 0

    def environment(self) -> dict[str, str]:
        """As for all."""
        own = {
            "BORG_REPO": str(self.repository),
            "BORG_PASSPHRASE": PASSPHRASE,
            "BORG_BASE_DIR": str(self.home),
        }
        return super().environment() | own

    def init(self) -> list[Command]:
        """SHA-256 where the processor has instructions for it, BLAKE2 where not."""
        return [Command(["borg", "init", "--encryption", "repokey" if _has_sha() else "repokey-blake2"])]

    def backup(self, source: Path) -> Command:
        """`borg create`."""
        self.count += 1
        return Command(["borg", "create", "-C", "zstd,3", f"::bench-{self.count}", "."], source)

    def restore(self, source: Path, target: Path) -> Command:  # noqa: ARG002  # the archive is named, not its path
        """`borg extract`, which writes into the folder it runs in."""
        return Command(["borg", "extract", f"::bench-{self.count}"], target)

    def restore_one(self, source: Path, target: Path, name: str) -> Command:
        """`borg extract` of a path."""
        whole = self.restore(source, target)
        return Command([*whole.words, name], whole.folder)


KINDS: Final[tuple[type[Tool], ...]] = (Pinfold, Restic, Kopia, Borg)


def found() -> list[type[Tool]]:
    """The tools on PATH."""
    return [kind for kind in KINDS if shutil.which(kind.name)]


def version(kind: type[Tool]) -> str:
    """Its version, as "0.18.1"; all of what it says where that holds no number."""
    said = subprocess.run(kind.version_words, capture_output=True, text=True, check=True).stdout.strip()
    number = re.search(r"\d+(\.\w+)+", said)
    return number[0] if number else said


def _has_sha() -> bool:
    try:
        return " sha_ni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
