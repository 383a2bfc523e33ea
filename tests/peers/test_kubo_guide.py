"""docs/kubo.md does what it says: its commands run, and a node takes its settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engine import listing, write

if TYPE_CHECKING:
    from lab.kubo import Node
    from lab.program import Kubo

GUIDE = (Path(__file__).parents[2] / "docs" / "kubo.md").read_text(encoding="utf-8")


def test_the_first_commands_run(node: Node, tmp_path: Path) -> None:
    """The example at the head of the guide makes a repository in a node, backs up and restores."""
    found = re.search(r"```console\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    script = found[1].replace("$ ", "").replace("http://127.0.0.1:5001", node.api)
    write(tmp_path, {"passphrase": b"correct horse\n", "documents/one": b"1", "documents/deep/two": b"2"})
    (tmp_path / "passphrase").chmod(0o600)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "ipfs").write_text(f'#!/bin/sh\nexec "{node.binary}" --api=/ip4/127.0.0.1/tcp/{node.api_port} "$@"\n')
    (tools / "ipfs").chmod(0o755)
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={"HOME": str(tmp_path), "PATH": path, "LANG": "C.UTF-8", "IPFS_PATH": str(node.home)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert 2 == len(re.findall(r" recursive pinfold/", done.stdout))
    assert listing(tmp_path / "documents") == listing(tmp_path / "restored")


def test_the_settings_of_a_private_node_are_taken(kubo: Kubo) -> None:
    """Kubo takes every `ipfs config` of the guide."""
    lines = re.findall(r"^ipfs ((?:config|bootstrap) [^$\n]*)$", GUIDE, re.MULTILINE)
    assert 6 == len(lines)
    for line in lines:
        kubo.run(*line.split())
