"""Real programs that tests compare pinfold with. They are never skipped: `make components` builds them."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

# Read before each test's environment is emptied.
COMPONENTS = Path(os.environ.get("PINFOLD_COMPONENTS") or Path.home() / ".cache" / "pinfold-components")

# Nothing leaves the machine: no peers to call, no content routing, no settings fetched from elsewhere, no reports.
PRIVATE = (
    ("config", "profile", "apply", "autoconf-off"),
    ("bootstrap", "rm", "all"),
    ("config", "Routing.Type", "none"),
)
SECONDS = 120


@dataclass(frozen=True)
class Kubo:
    """A Kubo node without a daemon: the program `ipfs` and a repository of its own."""

    binary: Path
    home: Path

    def run(
        self,
        *args: str | Path,
        input: bytes | None = None,  # noqa: A002  subprocess's own word for it
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run `ipfs ARGS`, feed it input, return its stdout; env adds to the environment.

        Raises subprocess.CalledProcessError when it fails, with what it said on stderr as a note; not so with
        check=False, where the stdout of a failed run is returned.
        """
        environment = {**os.environ, "IPFS_PATH": str(self.home), "IPFS_TELEMETRY": "off", **(env or {})}
        command = (self.binary, *args)
        done = subprocess.run(
            command, input=input or b"", env=environment, capture_output=True, timeout=SECONDS, check=False
        )
        if check and done.returncode:
            failure = subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
            failure.add_note(done.stderr.decode(errors="replace"))
            raise failure
        return done.stdout

    def apply_profile(self, name: str) -> None:
        """Change the repository's configuration, as `unixfs-v1-2025` does before CIDs are compared."""
        self.run("config", "profile", "apply", name)


@pytest.fixture(scope="session")
def kubo_template(tmp_path_factory: pytest.TempPathFactory) -> Kubo:
    """An initialised node that no test uses: a copy takes 5 ms, `ipfs init` and its settings take 340 ms."""
    binary = COMPONENTS / "bin" / "ipfs"
    if not binary.exists():
        pytest.fail(f"{binary} is missing: run make components", pytrace=False)
    node = Kubo(binary, tmp_path_factory.mktemp("kubo") / "template")
    node.run("init", "--profile=test")
    for command in PRIVATE:
        node.run(*command)
    return node


@pytest.fixture
def kubo(kubo_template: Kubo, tmp_path_factory: pytest.TempPathFactory) -> Kubo:
    """A fresh node, empty but for what `ipfs init` puts there."""
    home = tmp_path_factory.mktemp("kubo") / "repository"
    shutil.copytree(kubo_template.home, home)
    return Kubo(kubo_template.binary, home)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow what needs Kubo: the tests run in a second, but the program takes minutes to build."""
    for item in items:
        if "kubo" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
