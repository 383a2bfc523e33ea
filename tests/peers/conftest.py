"""Kubo without a daemon, which tests compare pinfold with. It is never skipped: `make components` builds it."""

import shutil

import pytest

from lab.program import Kubo


@pytest.fixture
def kubo(kubo_template: Kubo, tmp_path_factory: pytest.TempPathFactory) -> Kubo:
    """A fresh node, empty but for what `ipfs init` puts there."""
    home = tmp_path_factory.mktemp("kubo") / "repository"
    shutil.copytree(kubo_template.home, home)
    return Kubo(kubo_template.binary, home)
