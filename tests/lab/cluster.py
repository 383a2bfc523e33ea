"""IPFS Cluster for tests: real peers on this machine, each beside a Kubo of its own, in a private network.

`with new_cluster(2, template, folder) as cluster: cluster.peers[0].rest`. What makes it fast: every peer knows the
addresses of all, so that none waits for another to bootstrap from; and gossip, metrics and heads of the log come every
second or so. As shipped, the `freespace` metric that allocation needs came between 12 and 50 s after the start, and a
peer that came back heard after up to a minute what it had missed.
"""

import base64
import http.client
import json
import secrets
import subprocess
import tempfile
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.kubo import RPC_SECONDS, Node, RpcError, new_node, new_swarm_key
from lab.process import NotReadyError, Process, free_port, wait_until
from lab.program import Kubo, component, new_identity

READY_SECONDS = 60.0
# A metric is sent twice in its time to live. Shorter ones expire when two cores are busy with other things.
LIVELY: dict[str, object] = {
    "cluster.mdns_interval": "0s",
    "cluster.monitor_ping_interval": "1s",
    "cluster.peer_watch_interval": "1s",
    "cluster.pubsub.heartbeat_interval": "200ms",
    "cluster.pubsub.flood_publish": True,
    "consensus.crdt.trusted_peers": ["*"],
    "consensus.crdt.rebroadcast_interval": "1s",
    "ipfs_connector.ipfshttp.connect_swarms_delay": "1s",
    "monitor.pubsubmon.check_interval": "1s",
    "informer.disk.metric_ttl": "4s",
    "informer.pinqueue.metric_ttl": "4s",
    "informer.tags.metric_ttl": "4s",
    "datastore.pebble.pebble_options.cache_size_bytes": 16 << 20,
    "datastore.pebble.pebble_options.mem_table_size": 4 << 20,
}


class Peer:
    """One ipfs-cluster-service beside its Kubo `node`; it keeps its ports and its identity over restarts."""

    def __init__(self, name: str, folder: Path, node: Node, auth: tuple[str, str] | None) -> None:
        ports = (free_port(), free_port(), free_port(), free_port())
        self.rest_port, self.psa_port, self.proxy_port, self.swarm_port = ports
        self.name = name
        self.folder = folder
        self.node = node
        self.rest, self.psa, self.proxy = (f"http://127.0.0.1:{port}" for port in ports[:3])
        self.auth = auth
        self._identity = new_identity()
        self.peer_id = self._identity["PeerID"]
        self.address = f"/ip4/127.0.0.1/tcp/{self.swarm_port}/p2p/{self.peer_id}"
        command: list[str | Path] = [component("ipfs-cluster-service"), "-c", folder, "daemon"]
        self.process = Process(f"Cluster {name} on port {self.rest_port}", command, folder.with_suffix(".log"), {})

    @property
    def running(self) -> bool:
        """Whether the service runs; a paused one does."""
        return self.process.running

    @property
    def log(self) -> str:
        """The end of the service's log."""
        return self.process.log

    def configure(self, secret: str, others: Sequence["Peer"], settings: Mapping[str, object]) -> None:
        """Write its configuration; settings are dotted keys of service.json over the laboratory's own."""
        self.folder.mkdir()
        identity = {"id": self.peer_id, "private_key": self._identity["PrivKey"]}
        (self.folder / "identity.json").write_text(json.dumps(identity), encoding="utf-8")
        own: dict[str, object] = {
            "cluster.peername": self.name,
            "cluster.secret": secret,
            "cluster.listen_multiaddress": [f"/ip4/127.0.0.1/tcp/{self.swarm_port}"],
            "cluster.peer_addresses": [other.address for other in others],
            "api.restapi.http_listen_multiaddress": f"/ip4/127.0.0.1/tcp/{self.rest_port}",
            "api.pinsvcapi.http_listen_multiaddress": f"/ip4/127.0.0.1/tcp/{self.psa_port}",
            "api.ipfsproxy.listen_multiaddress": f"/ip4/127.0.0.1/tcp/{self.proxy_port}",
            "api.ipfsproxy.node_multiaddress": f"/ip4/127.0.0.1/tcp/{self.node.api_port}",
            "ipfs_connector.ipfshttp.node_multiaddress": f"/ip4/127.0.0.1/tcp/{self.node.api_port}",
        }
        if self.auth is not None:
            credentials = dict([self.auth])
            own["api.restapi.basic_auth_credentials"] = own["api.pinsvcapi.basic_auth_credentials"] = credentials
        service = changed(as_shipped(), {**LIVELY, **own, **settings})
        (self.folder / "service.json").write_text(service, encoding="utf-8")

    def start(self) -> None:
        """Start the service, return once its REST interface answers; see Cluster.wait_ready for the rest.

        Cluster 1.1.6 asked for its identity in the first moments may panic on a client it has not made yet.
        """
        self.process.begin()
        self.wait()

    def wait(self) -> None:
        """Return once its REST interface answers."""
        try:
            self.process.wait(self.answers)
        except NotReadyError:
            if "panic:" not in self.log:
                raise
            self.process.launch(self.answers)

    def stop(self) -> None:
        """SIGTERM, and wait for the end; its Kubo goes on."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL, and wait for the end; its Kubo goes on."""
        self.process.kill()

    def restart(self) -> None:
        """Stop and start, with the same ports."""
        self.stop()
        self.start()

    def lose_power(self) -> None:
        """Kill the service and its Kubo: the whole machine is gone."""
        self.kill()
        self.node.kill()

    def come_back(self) -> None:
        """Start Kubo and the service after lose_power()."""
        self.node.start()
        self.start()

    def get(self, path: str, **query: str) -> Any:  # noqa: ANN401  JSON
        """GET a path of the REST interface, return its JSON document; raises RpcError."""
        return json.loads(self.call("GET", path, **query))

    def stream(self, path: str, **query: str) -> list[Any]:
        """GET a path that answers one document a line: /peers, /pins, /allocations; raises RpcError."""
        return [json.loads(line) for line in self.call("GET", path, **query).splitlines() if line]

    def call(self, method: str, path: str, **query: str) -> bytes:
        """Ask the REST interface without a body; raises RpcError for an error status, OSError when it is down."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=RPC_SECONDS)
        try:
            connection.request(method, f"{path}?{urllib.parse.urlencode(query)}", headers=self._headers())
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise RpcError(answer.status, body)
        return body

    def status(self, cid: object) -> dict[str, str]:
        """Return what each peer says of a pin: peer's name to status word ("pinned", "remote", "pin_error")."""
        told = self.get(f"/pins/{cid}")
        return {peer["peername"]: peer["status"] for peer in told["peer_map"].values()}

    def answers(self) -> bool:
        """Whether its REST interface answers."""
        try:
            self.get("/id")
        except (OSError, http.client.HTTPException, RpcError):
            return False
        return True

    def sees(self, others: Sequence["Peer"]) -> bool:
        """Whether it lists all others as peers, and has a metric of each by which it allocates."""
        wanted = {other.peer_id for other in others}
        try:
            peers = {peer["id"] for peer in self.stream("/peers") if not peer["error"]}
            metrics = {metric["peer"] for metric in self.get("/monitor/metrics/freespace") or () if metric["valid"]}
        except (OSError, http.client.HTTPException, RpcError):
            return False
        return wanted <= peers and wanted <= metrics

    def _headers(self) -> dict[str, str]:
        if self.auth is None:
            return {}
        return {"Authorization": f"Basic {base64.b64encode(':'.join(self.auth).encode()).decode()}"}


class Cluster:
    """Peers that know of each other; a context manager that starts them all and kills them all."""

    def __init__(self, peers: Sequence[Peer], secret: str) -> None:
        self.peers = list(peers)
        self.secret = secret
        self._running = ExitStack()

    def __enter__(self) -> Self:
        """Start every Kubo and every service at once, return when the cluster is ready."""
        try:
            for peer in self.peers:
                self._running.enter_context(peer.node)
                self._running.callback(peer.kill)
                peer.process.begin()
            for first, second in zip(self.peers, self.peers[1:], strict=False):
                second.node.connect(first.node)
            for peer in self.peers:
                peer.wait()
            self.wait_ready()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Kill all."""
        self._running.close()

    def wait_ready(self) -> None:
        """Return once every running peer sees every running peer and has its metrics; raises TimeoutError."""
        running = [peer for peer in self.peers if peer.running]
        for peer in running:
            wait_until(partial(peer.sees, running), seconds=READY_SECONDS, what=f"{peer.name} to see all peers")


@cache
def as_shipped() -> str:
    """Return the service.json that Cluster itself writes; asked for once, because `init` takes a second."""
    with tempfile.TemporaryDirectory() as folder:
        command = (component("ipfs-cluster-service"), "-c", folder, "init", "--consensus", "crdt")
        subprocess.run(command, capture_output=True, check=True)
        return (Path(folder) / "service.json").read_text(encoding="utf-8")


def changed(text: str, changes: Mapping[str, object]) -> str:
    """Return a JSON text with dotted keys set."""
    whole = json.loads(text)
    for key, value in changes.items():
        *above, last = key.split(".")
        inner = whole
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return json.dumps(whole, indent=2)


def new_cluster(
    count: int,
    template: Kubo,
    folder: Path,
    *,
    replication_min: int = -1,
    replication_max: int = -1,
    basic_auth: tuple[str, str] | None = None,
    swarm_key: bool = True,
    settings: Mapping[str, object] | None = None,
) -> Cluster:
    """Make a cluster of `peer-1` to `peer-COUNT`, not yet started.

    replication: the factors of a pin that names none, -1 for everywhere. basic_auth: user and password of the REST and
    the PSA interface. swarm_key: the Kubos form a private network. settings: dotted keys of service.json.
    """
    secret = secrets.token_hex(32)
    key = new_swarm_key() if swarm_key else None
    peers = []
    for number in range(1, count + 1):
        home = folder / f"kubo-{number}"
        node = new_node(template.binary, template.home, home, offline=False, swarm_key=key)
        peers.append(Peer(f"peer-{number}", folder / f"cluster-{number}", node, basic_auth))
    factors = {"cluster.replication_factor_min": replication_min, "cluster.replication_factor_max": replication_max}
    for peer in peers:
        others = [other for other in peers if other is not peer]
        peer.configure(secret, others, {**factors, **(settings or {})})
        neighbours = [{"ID": other.node.peer_id, "Addrs": [other.node.swarm]} for other in others]
        peer.node.config("Peering.Peers", neighbours)  # a Kubo that comes back finds the others by itself
    return Cluster(peers, secret)
