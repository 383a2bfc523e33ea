"""Real Kubo daemons on this machine alone: `with new_node(binary, template, home) as node: ...`.

Crash rule: a node's repository outlives its daemon, so kill() and start() show what Kubo itself loses.
"""

import http.client
import json
import secrets
import shutil
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.process import Process, accepts, free_port
from lab.program import Kubo, new_identity, write_config

PROFILE = "unixfs-v1-2025"
RPC_SECONDS = 60.0
SWARM_KEY_HEADER = b"/key/swarm/psk/1.0.0/\n/base16/\n"
# Two or three peers are all there ever are; and nothing is told or asked beyond them.
QUIET = {
    "Discovery.MDNS.Enabled": False,
    "HTTPRetrieval.Enabled": False,
    "Provide.Enabled": False,
    "Swarm.ConnMgr": {"Type": "basic", "LowWater": 8, "HighWater": 16, "GracePeriod": "20s"},
    "Swarm.DisableNatPortMap": True,
    "Swarm.RelayClient.Enabled": False,
    "Swarm.RelayService.Enabled": False,
    "Swarm.Transports.Network.QUIC": False,
    "Swarm.Transports.Network.WebTransport": False,
    "Swarm.Transports.Network.Websocket": False,
    "Version.SwarmCheckEnabled": False,
}


class RpcError(Exception):
    """The RPC answered with an error status; the message is Kubo's own."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[:500].decode(errors='replace')}")
        self.status = status


def new_swarm_key() -> bytes:
    """Return the text of a `swarm.key`: nodes with the same one form a private network."""
    return SWARM_KEY_HEADER + secrets.token_hex(32).encode() + b"\n"


class Node:
    """A Kubo daemon with a repository and ports of its own, which it keeps over restarts; a context manager."""

    def __init__(self, kubo: Kubo, ports: tuple[int, int, int], *, offline: bool, peer_id: str, token: str) -> None:
        api, gateway, swarm = ports
        self.binary = kubo.binary
        self.home = kubo.home
        self.api = f"http://127.0.0.1:{api}"
        self.gateway = f"http://127.0.0.1:{gateway}"
        self.peer_id = peer_id
        self.swarm = f"/ip4/127.0.0.1/tcp/{swarm}/p2p/{peer_id}"
        self.api_port, self.gateway_port, self.swarm_port = ports
        self.token = token
        self._kubo = kubo
        env = {"IPFS_PATH": str(kubo.home), "IPFS_TELEMETRY": "off"}
        if (kubo.home / "swarm.key").exists():
            env["LIBP2P_FORCE_PNET"] = "1"
        command: list[str | Path] = [kubo.binary, "daemon", *(["--offline"] if offline else [])]
        log = kubo.home.parent / f"{kubo.home.name}.log"
        self.process = Process(f"Kubo on port {api}", command, log, env)

    def __enter__(self) -> Self:
        """Start the daemon unless it runs."""
        if not self.running:
            self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Kill it: an orderly end takes 1.6 s, and nobody needs the repository any more."""
        self.process.kill()

    @property
    def running(self) -> bool:
        """Whether the daemon runs; a paused one does."""
        return self.process.running

    @property
    def log(self) -> str:
        """The end of the daemon's log."""
        return self.process.log

    def start(self) -> None:
        """Start the daemon, return once RPC and gateway answer (0.15 s); raises NotReadyError with its log."""
        self.process.launch(self._ready)

    def stop(self) -> None:
        """SIGTERM, and wait for the end (1.6 s)."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL, and wait for the end; what the next start() finds is what a crash leaves."""
        self.process.kill()
        (self.home / "api").unlink(
            missing_ok=True
        )  # else `ipfs` calls the dead daemon instead of opening the repository

    def restart(self) -> None:
        """Stop and start, with the same ports."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Hang: connections are taken, and nobody answers."""
        self.process.pause()

    def resume(self) -> None:
        """Go on after pause()."""
        self.process.resume()

    def run(self, *args: str | Path, input: bytes | None = None, check: bool = True) -> bytes:  # noqa: A002
        """Run `ipfs ARGS` through the running daemon's RPC, or on the repository itself while it is down."""
        options: tuple[str, ...] = (f"--api=/ip4/127.0.0.1/tcp/{self.api_port}",) if self.running else ()
        if self.token and self.running:
            options += (f"--api-auth=bearer:{self.token}",)
        return self._kubo.run(*options, *args, input=input, check=check)

    def rpc(self, call: str, **query: str | list[str]) -> bytes:
        """POST /api/v0/CALL with the query; raises RpcError for a status other than 200, OSError when it is down."""
        connection = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=RPC_SECONDS)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            connection.request("POST", f"/api/v0/{call}?{urllib.parse.urlencode(query, doseq=True)}", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise RpcError(answer.status, body)
        return body

    def config(self, key: str, value: object) -> None:
        """Set a config key ("Gateway.NoFetch") to a JSON value; a running daemon must be restarted to heed it."""
        write_config(self.home, {key: value})

    def connect(self, other: "Node") -> None:
        """Connect the swarms of two running nodes, neither of which is offline."""
        self.rpc("swarm/connect", arg=other.swarm)

    def gc(self) -> None:
        """Collect garbage: drop every block that no pin holds."""
        if self.running:
            self.rpc("repo/gc", quiet="true")
        else:
            self.run("repo", "gc", "--quiet")

    def has(self, cid: object) -> bool:
        """Whether this node itself holds the block, asking no other."""
        if not self.running:
            return bool(self._kubo.run("block", "stat", "--offline", str(cid), check=False))
        try:
            self.rpc("block/stat", arg=str(cid), offline="true")
        except RpcError:
            return False
        return True

    def pins(self) -> dict[str, str]:
        """Return the recursive pins: CID to name, "" for one that has none."""
        if not self.running:
            lines = self._kubo.run("pin", "ls", "--type=recursive", "--names").decode().splitlines()
            return {cid: name for cid, _, name in (f"{line} ".split(" ", 2) for line in lines) if cid}
        listed = json.loads(self.rpc("pin/ls", type="recursive", names="true"))
        return {cid: pin["Name"] for cid, pin in listed.get("Keys", {}).items()}

    def _ready(self) -> bool:
        try:
            self.rpc("version")
        except RpcError as refused:
            return refused.status == http.client.FORBIDDEN
        except (OSError, http.client.HTTPException):
            return False
        return not self.gateway or accepts(self.gateway_port)


def new_node(
    binary: Path,
    template: Path,
    home: Path,
    *,
    offline: bool = True,
    swarm_key: bytes | None = None,
    profile: str | None = PROFILE,
    authorizations: Mapping[str, object] | None = None,
    gateway: bool = True,
) -> Node:
    """Make a node, not yet started, from a copy of the template, with ports and an identity of its own.

    offline: no network at all; such a node answers "no such block" at once. swarm_key: text from new_swarm_key().
    profile: as which `ipfs add` chunks; None is Kubo's own default. authorizations: as in `API.Authorizations`; the
    node then adds one of its own that may do everything, so that its own methods go on working.
    gateway=False: nothing listens there, and `gateway` is "".
    """
    shutil.copytree(template, home)
    ports = (free_port(), free_port(), free_port())
    api, web, swarm = (f"/ip4/127.0.0.1/tcp/{port}" for port in ports)
    identity = new_identity()
    addresses = {"API": api, "Gateway": web if gateway else [], "Swarm": [] if offline else [swarm]}
    changes: dict[str, object] = {"Identity": identity, **QUIET}
    changes |= {f"Addresses.{name}": value for name, value in addresses.items()}
    token = ""
    if authorizations is not None:
        token = secrets.token_urlsafe(16)
        own = {"AuthSecret": f"bearer:{token}", "AllowedPaths": ["/api/v0"]}
        changes["API.Authorizations"] = {**authorizations, "laboratory": own}
    write_config(home, changes)
    if swarm_key is not None:
        (home / "swarm.key").write_bytes(swarm_key)
        (home / "swarm.key").chmod(0o600)
    kubo = Kubo(binary, home)
    if profile is not None:
        kubo.apply_profile(profile)
    node = Node(kubo, ports, offline=offline, peer_id=identity["PeerID"], token=token)
    if not gateway:
        node.gateway = ""
    return node
