"""A tree, a machine that backs it up, and an oracle that remembers every state."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from crash.cli import CHEAP, Machine, grow
from crash.oracle import Oracle

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The tree that is backed up."""
    grow(tmp_path / "tree", random.Random(str(tmp_path.name)))
    return tmp_path / "tree"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with a repository."""
    made = Machine(tmp_path / "store", tmp_path / "cache")
    made.call("init", *CHEAP)
    return made


@pytest.fixture
def oracle(machine: Machine, tmp_path: Path) -> Oracle:
    """Nothing known yet."""
    return Oracle(machine, tmp_path)
