"""`pinfold serve`: a repository behind HTTP, as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pinfold
from lab.process import wait_until
from pinfold.ipld import CID
from pinfold.pinning import Database, Tokens
from serving.conftest import Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cli.conftest import Cli

PROGRAM = [sys.executable, "-m", "pinfold"]


@pytest.fixture
def root(repo: Cli, tree: Path) -> str:
    """The root of a snapshot."""
    repo("backup", tree)
    root: str = repo("snapshots", "--json").document["snapshots"][0]["root"]
    return root


@pytest.fixture
def serve(repo: Cli, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start `pinfold serve` on the repository with more words."""
    started: list[Running] = []

    def run(*words: object) -> Running:
        where = repo.words[list(repo.words).index("-r") + 1]
        listen = [] if "--listen" in words else ["--listen", "127.0.0.1:0"]
        started.append(Running(tmp_path, [*PROGRAM, "serve", "-r", where, *listen, *map(str, words)]))
        return started[-1]

    yield run
    for one in started:
        one.close()


def failed(*words: object) -> tuple[int, str]:
    """Run `pinfold serve` where it cannot; its exit code and the one line it says."""
    environment = dict(os.environ, PYTHONPATH=str(Path(pinfold.__file__).parent.parent))
    command = [*PROGRAM, "serve", *map(str, words)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert "" == ran.stdout
    return ran.returncode, ran.stderr


def test_a_snapshot_is_served(serve: Callable[..., Running], root: str) -> None:
    """What `pinfold serve --json` tells is where any client gets blocks, CARs and pages of a snapshot."""
    server = serve("--json")
    assert {"listening": [f"http://127.0.0.1:{server.port}"]} == json.loads(server.said)
    block = server.ask(f"/ipfs/{root}?format=raw").data
    CID.parse(root).verify(block)
    assert b"pinfold" in server.ask(f"/ipfs/{root}/README.txt").data
    assert "text/html" in server.ask(f"/ipfs/{root}/").headers["content-type"]
    car = server.ask(f"/ipfs/{root}?format=car")
    assert car.data.startswith(b"\x3a\xa2eroots")
    assert 404 == server.ask("/ipfs/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku").status
    assert b"/ipfs/CID" in server.ask("/").data
    assert 200 == server.ask("/readyz").status
    assert server.figure("pinfold_store_gets_total") > 0
    line = server.logged(path=f"/ipfs/{root}")
    assert ("ipfs", root) == (line["door"], line["cid"])


def test_it_ends_with_zero(serve: Callable[..., Running]) -> None:
    """SIGTERM and Ctrl-C end it with 0, and the log says so."""
    for number in (signal.SIGTERM, signal.SIGINT):
        server = serve()
        assert server.said.startswith("listening on http://127.0.0.1:")
        server.signal(number)
        assert (0, "") == server.ended()
        assert {"event": "stopped", "cut": 0}.items() <= server.log[-1].items()


def test_a_second_signal_is_told_by_the_exit_code(serve: Callable[..., Running]) -> None:
    """Who is told to stop twice ends with 143, or 130 for Ctrl-C."""
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        server = serve("--drain", "10min")
        server.signal(number)
        wait_until(lambda server=server: server.ask("/readyz").status == 503, what="stopping")
        server.signal(number)
        assert code == server.ended()[0]


def test_metrics_apart(serve: Callable[..., Running]) -> None:
    """With --metrics they are at that address alone, and content is not."""
    server = serve("--metrics", "127.0.0.1:0", "--json")
    told = json.loads(server.said)
    assert 404 == server.ask("/metrics").status
    assert 200 == server.pool.request("GET", told["metrics"][0] + "/metrics").status
    assert 200 == server.pool.request("GET", told["metrics"][0] + "/healthz").status
    assert 404 == server.pool.request("GET", told["metrics"][0] + "/ipfs/bafkqaaa").status


def test_trustless_only(serve: Callable[..., Running], root: str) -> None:
    """With --trustless-only there are blocks and CARs, and no pages."""
    server = serve("--trustless-only")
    assert 200 == server.ask(f"/ipfs/{root}?format=raw").status
    assert 406 == server.ask(f"/ipfs/{root}/README.txt", headers={"Accept": "text/html"}).status


def test_refused_content(serve: Callable[..., Running], root: str, tmp_path: Path) -> None:
    """What stands in the file of --refuse is answered with 410, whatever CID names it; the rest is served."""
    (tmp_path / "refused").write_text(f"# by order\n{root}  # all of it\n")
    server = serve("--refuse", tmp_path / "refused")
    assert 410 == server.ask(f"/ipfs/{root}?format=raw").status
    assert 410 == server.ask(f"/ipfs/{root}/README.txt").status
    assert 404 == server.ask("/ipfs/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku?format=raw").status


def test_pins_are_served(serve: Callable[..., Running], root: str, tmp_path: Path) -> None:
    """With --pinning-service there is /pins, for tokens of its folder, and what the store holds is pinned at once."""
    folder = tmp_path / "pins"
    database = Database(folder)
    try:
        _, token = Tokens(database).add("test")
    finally:
        database.close()
    server = serve("--pinning-service", folder, "--no-gateway")
    bearer = {"Authorization": f"Bearer {token.reveal().decode()}"}
    assert 401 == server.ask("/pins").status
    assert 0 == server.ask("/pins", headers=bearer).json()["count"]
    made = server.ask("/pins", "POST", headers=bearer, json={"cid": root, "name": "mine"})
    assert (202, root) == (made.status, made.json()["pin"]["cid"])
    assert made.json()["delegates"][0].startswith(f"/ip4/127.0.0.1/tcp/{server.port}/http")
    wait_until(lambda: server.figure('pinfold_pin_requests{status="pinned"}') == 1.0, what="the pin")
    assert 202 == server.ask(f"/pins/{made.json()['requestid']}", "DELETE", headers=bearer).status
    assert 404 == server.ask(f"/ipfs/{root}?format=raw").status
    assert token.reveal().decode().encode() not in server.log_file.read_bytes()


def test_what_makes_no_sense(repo: Cli, tmp_path: Path) -> None:
    """Mistakes end with one line and 2: no repository, no such address, half a certificate, nothing to serve."""
    where = ["-r", repo.words[list(repo.words).index("-r") + 1]]
    (tmp_path / "wrong").write_text("# fine\nno-cid\n")
    (tmp_path / "empty").touch()
    both = ["--tls-cert", tmp_path / "empty", "--tls-key", tmp_path / "empty"]
    pinning = ["--listen", "127.0.0.1:0", "--pinning-service", tmp_path / "pins"]
    for words, said in (
        (["--listen", "127.0.0.1:0"], "no repository given"),
        ([*where, "--listen", "8480"], "'8480' is no address to listen on: give HOST:PORT"),
        ([*where, "--listen", "no.such.host.invalid:1"], "no host of this machine"),
        ([*where, "--tls-cert", tmp_path / "empty"], "--tls-cert and --tls-key go together"),
        ([*where, *both], "cannot use the certificate"),
        ([*where, "--no-gateway"], "there is nothing to serve"),
        ([*where, "--listen", "127.0.0.1:0", "--refuse", tmp_path / "wrong"], "line 2: 'no-cid' is no CID"),
        ([*where, "--requests", "0"], "--requests"),
        (["-r", "gateway+http://a.invalid", *pinning], "takes no blocks, so --pinning-service has nowhere"),
        (["-r", "psa+http://a.invalid?gateway=http://b.invalid", *pinning], "takes no blocks"),
        (["-r", "psa+http://a.invalid", "--listen", "127.0.0.1:0"], "psa+http://a.invalid?gateway=https://HOST"),
    ):
        code, line = failed(*words)
        assert (2, True) == (code, said in line), line
        assert "Traceback" not in line


def test_an_address_in_use(serve: Callable[..., Running], repo: Cli) -> None:
    """An address that is taken ends it with one clear line and 1."""
    server = serve()
    where = ["-r", repo.words[list(repo.words).index("-r") + 1]]
    code, line = failed(*where, "--listen", f"127.0.0.1:{server.port}")
    assert f"pinfold: cannot listen on 127.0.0.1:{server.port}: another program listens there" in line
    assert (1, 1) == (code, line.count("\n"))


@pytest.mark.parametrize("package", ["granian", "prometheus_client", "structlog"])
def test_a_missing_package_is_named(repo: Cli, package: str) -> None:
    """Without the extra packages one line says what to install, and other commands do not miss them."""
    where = repo.words[list(repo.words).index("-r") + 1]
    script = (
        f"import sys\nsys.modules[{package!r}] = None\nfrom pinfold.cli import main\n"
        f"assert main(['snapshots', '-r', {where!r}]) == 0\n"
        f"sys.exit(main(['serve', '-r', {where!r}]))"
    )
    environment = dict(os.environ, PYTHONPATH=str(Path(pinfold.__file__).parent.parent))
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert 1 == ran.returncode
    wanted = f"pinfold: pinfold serve needs {package}, which is not installed: pip install 'pinfold[serve]'"
    assert wanted == ran.stderr.splitlines()[-1]


def test_help_needs_none_of_them(cli: Cli) -> None:
    """`pinfold serve --help` loads no server."""
    script = (
        "import sys, io, contextlib\nfrom pinfold.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()): main(['serve', '--help'])\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    environment = dict(os.environ, PYTHONPATH=str(Path(pinfold.__file__).parent.parent))
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert set() == {"granian", "structlog", "prometheus_client", "asyncio", "ssl"} & set(ran.stdout.split())
    assert "--trustless-only" in cli("serve", "--help").out
