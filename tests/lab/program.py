"""The program `ipfs` and a repository of its own, with no daemon: what every Kubo of the tests begins with."""

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# Read before each test's environment is emptied.
COMPONENTS = Path(os.environ.get("PINFOLD_COMPONENTS") or Path.home() / ".cache" / "pinfold-components")

# Nothing leaves the machine: no peers to call, no content routing, no settings fetched from elsewhere, no reports.
PRIVATE = (
    ("config", "profile", "apply", "autoconf-off"),
    ("bootstrap", "rm", "all"),
    ("config", "Routing.Type", "none"),
)
SECONDS = 120
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# libp2p's protobuf around an Ed25519 key: type 1, then the private key with the public one, or the public one alone.
PRIVATE_KEY = bytes.fromhex("08011240")
PUBLIC_KEY = bytes.fromhex("08011220")


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


def make_template(folder: Path) -> Kubo:
    """Make an initialised node that no test uses: a copy takes 5 ms, `ipfs init` and its settings take 340 ms.

    Raises FileNotFoundError when the program has not been built.
    """
    node = Kubo(component("ipfs"), folder)
    node.run("init", "--profile=test")
    for command in PRIVATE:
        node.run(*command)
    return node


def component(name: str) -> Path:
    """Return the path of a program; raises FileNotFoundError when it has not been built."""
    binary = COMPONENTS / "bin" / name
    if not binary.exists():
        raise FileNotFoundError(f"{binary} is missing: run make components")
    return binary


def new_identity() -> dict[str, str]:
    """Return an `Identity` section for a repository's config: copies of one template must not share theirs."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    private = PRIVATE_KEY + key.private_bytes_raw() + public
    # The peer's ID is the identity multihash of the public key, in base58btc.
    return {"PeerID": base58(b"\x00\x24" + PUBLIC_KEY + public), "PrivKey": base64.b64encode(private).decode()}


def base58(data: bytes) -> str:
    """Return bytes as base58btc: one "1" for each leading zero byte, then the number."""
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = BASE58[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\x00"))) + digits


def read_config(home: Path) -> dict[str, object]:
    """Return a repository's config."""
    config: dict[str, object] = json.loads((home / "config").read_text(encoding="utf-8"))
    return config


def write_config(home: Path, changes: Mapping[str, object]) -> None:
    """Set config keys such as "Addresses.API", several at once: `ipfs config` takes 30 ms for each."""
    config = read_config(home)
    for key, value in changes.items():
        *above, last = key.split(".")
        inner = config
        for part in above:
            inner = inner.setdefault(part, {})  # type: ignore[assignment]
        inner[last] = value
    (home / "config").write_text(json.dumps(config, indent=2), encoding="utf-8")
