"""deploy/cluster: the compose file is whole and says what it must, its scripts run, its settings are Cluster's own."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.program import component
from pinfold.store.address import parse
from pinfold.store.cluster.factors import Factors

if TYPE_CHECKING:
    from lab.program import Kubo

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "cluster"
LINE = re.compile(r"( *)(- )?(?:([\w.-]+):(?: (.+))?|(\S.*))")


def scalar(text: str) -> Any:  # noqa: ANN401  # YAML
    """A value: a JSON list or string, a whole number, else a plain word that every YAML reader takes for a string."""
    if text[0] in '["':
        return json.loads(text)
    if text.isdecimal():
        return int(text)
    assert not re.search(r"[{}&*!|>%@`#'\"]|: ", text), text
    assert text.lower() not in {"true", "false", "yes", "no", "on", "off", "null", "~"}, text
    assert not re.fullmatch(r"[-+.\d]+", text), text
    return text


def load(text: str) -> dict[str, Any]:
    """The strict part of YAML that compose.yaml keeps to: maps by two spaces, lists of scalars, comments alone."""
    root: dict[str, Any] = {}
    above: list[tuple[int, Any]] = [(-1, root)]
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for number, line in enumerate(lines):
        found = LINE.fullmatch(line)
        assert found, line
        depth, dash, key, value, item = found.groups()
        assert len(depth) % 2 == 0, line
        while above[-1][0] >= len(depth):
            above.pop()
        holder = above[-1][1]
        if dash:
            assert isinstance(holder, list), line
            holder.append(scalar(item or line.strip()[2:]))
            continue
        assert isinstance(holder, dict), line
        assert key, line
        assert key not in holder, line
        if value:
            holder[key] = scalar(value)
            continue
        following = lines[number + 1] if number + 1 < len(lines) else ""
        inner: Any = [] if following.startswith(f"{depth}  - ") else {}
        deeper = following.startswith(f"{depth}  ")
        holder[key] = inner if deeper else None
        if deeper:
            above.append((len(depth), inner))
    return root


COMPOSE = load((FOLDER / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_two_nodes_and_two_peers() -> None:
    """There are two Kubos and two peers, each peer beside a Kubo of its own, in versions that are fixed."""
    assert ["kubo-1", "kubo-2", "peer-1", "peer-2"] == list(SERVICES)
    assert {"ipfs/kubo:v0.42.0", "ipfs/ipfs-cluster:v1.1.6"} == {service["image"] for service in SERVICES.values()}
    for number in "12":
        peer = SERVICES[f"peer-{number}"]
        assert [f"kubo-{number}"] == list(peer["depends_on"])
        assert f"/dns4/kubo-{number}/tcp/5001" == peer["environment"]["CLUSTER_IPFSHTTP_NODEMULTIADDRESS"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_whole(name: str) -> None:
    """It has a health check, comes back by itself, keeps its data, and is open to this machine alone."""
    service = SERVICES[name]
    assert "CMD" == service["healthcheck"]["test"][0]
    assert "unless-stopped" == service["restart"]
    assert f"{name}:" == service["volumes"][0][: len(name) + 1]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert set(service["secrets"]) <= set(COMPOSE["secrets"])
    for script in (volume.split(":")[0] for volume in service["volumes"][1:]):
        assert (FOLDER / script).is_file()
    assert not any("secret" in key.lower() or "auth" in key.lower() for key in service["environment"])


def test_what_is_named_is_declared() -> None:
    """Volumes and secrets are those of the services, and no port is taken twice."""
    assert list(SERVICES) == list(COMPOSE["volumes"])
    ports = [port for service in SERVICES.values() for port in service["ports"]]
    assert len(ports) == len({port.rsplit(":", 1)[0] for port in ports})
    assert {"swarm_key", "cluster_secret", "token"} == set(COMPOSE["secrets"])


def test_the_repo_it_tells_is_one() -> None:
    """The address in its opening comment names the published ports, and two copies."""
    (text,) = re.findall(r"^# +REPO: (\S+)$", (FOLDER / "compose.yaml").read_text("utf-8"), re.MULTILINE)
    address = parse(text)
    assert address is not None
    assert 2 == Factors.of(address).needed(9)
    published = {port.rsplit(":", 1)[0] for service in SERVICES.values() for port in service["ports"]}
    assert published == {url.removeprefix("http://") for url in [*address.urls, *address.options["kubo"].split(",")]}


def test_secrets_are_made_once(tmp_path: Path) -> None:
    """The script makes a swarm key, a cluster's secret and a token, in a folder of the owner's alone, and only once."""
    script = tmp_path / "make-secrets.sh"
    script.write_bytes((FOLDER / "make-secrets.sh").read_bytes())
    subprocess.run(["sh", script], check=True)
    made = tmp_path / "secrets"
    assert 0o700 == stat.S_IMODE(made.stat().st_mode)
    named = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert named == {file.name for file in made.iterdir()}
    assert re.fullmatch(r"/key/swarm/psk/1\.0\.0/\n/base16/\n[0-9a-f]{64}\n", (made / "swarm.key").read_text("ascii"))
    assert re.fullmatch(r"[0-9a-f]{64}", (made / "cluster-secret").read_text("ascii"))
    assert re.fullmatch(r"basic:pinfold:[0-9a-f]{64}\n", (made / "token").read_text("ascii"))
    assert 0 != subprocess.run(["sh", script], capture_output=True, check=False).returncode


@pytest.mark.parametrize("script", sorted(path.name for path in FOLDER.glob("*.sh")))
def test_scripts_are_shell(script: str) -> None:
    """Each script is one that sh takes."""
    subprocess.run(["sh", "-n", FOLDER / script], check=True)


@pytest.mark.slow
def test_a_peer_starts_with_these_settings(tmp_path: Path, kubo_template: Kubo) -> None:
    """The start script, with a real Cluster, writes a configuration that holds every setting and both secrets."""
    home, bin_, run = tmp_path / "home", tmp_path / "bin", tmp_path / "run"
    for folder in (home, bin_, run / "secrets"):
        folder.mkdir(parents=True)
    (run / "secrets" / "cluster_secret").write_text("ab" * 32, "ascii")
    (run / "secrets" / "token").write_text("basic:pinfold:pass\n", "ascii")
    # What the container has and this machine has not; its last call, which would run for ever, ends at once.
    for name, text in {
        "su-exec": 'shift\n[ "$2" = daemon ] && exit 0\nexec "$@"',
        "chown": "exit 0",
        "ipfs-cluster-service": f'exec "{component("ipfs-cluster-service")}" "$@"',
    }.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{text}\n", "ascii")
        (bin_ / name).chmod(0o755)
    script = (FOLDER / "start-peer.sh").read_text("utf-8").replace("/run/secrets", str(run / "secrets"))
    subprocess.run(
        ["sh", "-c", script],
        env={
            **SERVICES["peer-1"]["environment"],
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "IPFS_CLUSTER_PATH": str(home),
            "HOME": str(home),
        },
        capture_output=True,
        check=True,
    )
    made = json.loads((home / "service.json").read_text("utf-8"))
    assert ("peer-1", "ab" * 32, -1, -1) == (
        made["cluster"]["peername"],
        made["cluster"]["secret"],
        made["cluster"]["replication_factor_min"],
        made["cluster"]["replication_factor_max"],
    )
    assert ["*"] == made["consensus"]["crdt"]["trusted_peers"]
    assert ["leveldb"] == list(made["datastore"])
    assert False is made["datastore"]["leveldb"]["leveldb_options"]["no_sync"]
    assert {"pinfold": "pass"} == made["api"]["restapi"]["basic_auth_credentials"]
    assert "/ip4/0.0.0.0/tcp/9094" == made["api"]["restapi"]["http_listen_multiaddress"]
    assert "/dns4/kubo-1/tcp/5001" == made["ipfs_connector"]["ipfshttp"]["node_multiaddress"]
    # The private Kubo's settings are such as Kubo takes.
    private = {
        **os.environ,
        "IPFS_PATH": str(tmp_path / "ipfs"),
        "PATH": f"{kubo_template.binary.parent}:{os.environ['PATH']}",
    }
    profile = SERVICES["kubo-1"]["environment"]["IPFS_PROFILE"]
    subprocess.run([kubo_template.binary, "init", f"--profile={profile}"], env=private, capture_output=True, check=True)
    subprocess.run(["sh", FOLDER / "private-kubo.sh"], env=private, capture_output=True, check=True)
    config = json.loads((tmp_path / "ipfs" / "config").read_text("utf-8"))
    assert ("none", False) == (config["Routing"]["Type"], config["Provide"]["Enabled"])
    assert not config["Bootstrap"]
