"""Driving the real command line: run it, kill it at a moment or before its n-th change, look at what is left.

What is killed is a process of its own; looking at the store happens in the test's process, through the same `main`.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from engine import listing
from pinfold.cli import main
from pinfold.ipld import car
from pinfold.store import FolderStore
from pinfold.store.folder.cars import OPENING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from engine import Row
    from pinfold.ipld import CID

PROGRAM = Path(sys.executable).with_name("pinfold")
DYING = Path(__file__).with_name("dying.py")
CHEAP = ("--kdf-iterations", "1", "--kdf-memory", "1")
LONGEST = 120


class Done(NamedTuple):
    """How a process ended: exit code (negative: the signal), what it said, whether a kill was what ended it."""

    code: int
    out: str
    err: str

    @property
    def killed(self) -> bool:
        """Whether it died of kill -9."""
        return self.code == -signal.SIGKILL

    @property
    def document(self) -> Any:  # noqa: ANN401  # JSON
        """What `--json` printed."""
        return json.loads(self.out)


@dataclass
class Machine:
    """One machine: a repository's place, the passphrase in use, a cache of its own."""

    store: Path
    cache: Path
    passphrase: str = "first"  # noqa: S105  # of a repository that lives for one test
    environment: dict[str, str] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        """The settings of pinfold as environment variables."""
        return {
            "PINFOLD_REPOSITORY": str(self.store),
            "PINFOLD_CACHE": str(self.cache),
            "PINFOLD_PASSPHRASE": self.passphrase,
            **self.environment,
        }

    def start(self, *words: str | Path, before: tuple[str | Path, ...] = (PROGRAM,)) -> subprocess.Popen[str]:
        """Begin a command in a process group of its own."""
        return subprocess.Popen(
            [*before, *words],
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **self.variables()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str | Path) -> Done:
        """A command from beginning to end, in a process."""
        return wait(self.start(*words))

    def kill_after(self, seconds: float, *words: str | Path) -> Done:
        """A command killed with -9 after so long, if it has not ended by then."""
        return self.end_after(seconds, signal.SIGKILL, *words)

    def end_after(self, seconds: float, how: signal.Signals, *words: str | Path) -> Done:
        """A command sent a signal after so long, if it has not ended by then."""
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(how)
            return wait(process)
        return Done(process.returncode, out, err)

    def kill_before(self, change: int, *words: str | Path, hasty: bool = False) -> Done:
        """A command killed before its n-th change to the disk.  With 0 it lives, and tells last how many there were.

        `hasty`: its clock runs so fast that checkpoints are due all the time.
        """
        before = (sys.executable, DYING, str(change), str(int(hasty)))
        return wait(self.start(*words, before=before))

    @contextmanager
    def _as(self, passphrase: str) -> Iterator[None]:
        kept = dict(os.environ)
        os.environ.update(self.variables(), PINFOLD_PASSPHRASE=passphrase)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(kept)

    def call(self, *words: str | Path, code: int = 0) -> Any:  # noqa: ANN401  # JSON
        """A command in this process, with `--json`; returns its document."""
        out, err = io.StringIO(), io.StringIO()
        with self._as(self.passphrase), redirect_stdout(out), redirect_stderr(err):
            found = main([*map(str, words), "--json"])
        assert code == found, (words, out.getvalue(), err.getvalue())
        return json.loads(out.getvalue() or err.getvalue())

    def opens(self, passphrase: str) -> bool:
        """Whether this passphrase opens the newest keyring."""
        out = io.StringIO()
        with self._as(passphrase), redirect_stdout(out), redirect_stderr(out):
            code = main(["snapshots", "--json"])
        assert code in {0, 5}, out.getvalue()
        return code == 0

    def duration(self, *words: str | Path) -> float:
        """Seconds that a command takes, as a process."""
        began = time.monotonic()
        done = self.run(*words)
        assert done.code == 0, done
        return time.monotonic() - began

    def roots(self, source: str = "tree") -> dict[str, tuple[str, str]]:
        """Root and kind of every pinned snapshot of a source, by its id; none may be damaged."""
        found = self.call("snapshots", "--source", source)
        assert [] == found["damaged"]
        return {one["id"]: (one["root"], one["kind"]) for one in found["snapshots"]}

    def restored(self, root: str, target: Path) -> dict[bytes, Row]:
        """What a snapshot restores to."""
        said = self.call("restore", root, target)
        assert (0, 0) == (said["problem_count"], said["damaged_count"]), said
        return listing(target)


def wait(process: subprocess.Popen[str]) -> Done:
    """How a process ends; one that hangs is killed, and fails the test."""
    try:
        out, err = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Done(process.returncode, out, err)


def kept_blocks(store: Path) -> dict[CID, int]:
    """How often each block lies in the cars.  The cars' own listings are left out."""
    FolderStore.open(store).close()  # cuts and seals what a crash left
    found: dict[CID, int] = {}
    for path in (store / "cars").iterdir():
        with path.open("rb") as file:
            roots, _ = car.read_header(file)
            for place in car.scan(file, len(OPENING)):
                if place.cid not in roots:
                    found[place.cid] = found.get(place.cid, 0) + 1
    return found


def size_of(store: Path) -> int:
    """Bytes of all cars."""
    return sum(path.stat().st_size for path in (store / "cars").iterdir())


SMALL_FILES = 60
LARGE = 3_000_000


def grow(root: Path, chance: random.Random) -> None:
    """A tree of sixty small files in a few folders, and two large ones."""
    for number in range(SMALL_FILES):
        path = root / f"folder {number % 7}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(20_000)))
    for name in ("large", "folder 3/large"):
        (root / name).write_bytes(chance.randbytes(LARGE))


def change(root: Path, chance: random.Random) -> None:
    """Write a third of the small files anew, remove and add one, and now and then change the middle of a large one."""
    files = sorted(path for path in root.rglob("file *") if path.is_file())
    for path in chance.sample(files, 20):
        path.write_bytes(chance.randbytes(chance.randrange(20_000)))
    chance.choice(files).unlink()
    (root / f"folder {chance.randrange(7)}" / f"file {chance.randrange(10**9)}").write_bytes(chance.randbytes(5000))
    if chance.random() < 0.4:
        with (root / chance.choice(["large", "folder 3/large"])).open("r+b") as file:
            file.seek(chance.randrange(LARGE // 2))
            file.write(chance.randbytes(chance.randrange(LARGE // 2)))
