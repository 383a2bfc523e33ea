"""What holds for every test: an empty environment, a home of its own, the same random examples each time.

Fixtures with real programs come from lab.fixtures.
"""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every machine and in every run: a red run can be repeated, and a green one means the same
# everywhere. No deadlines and no complaint of slowness: those measure the machine.
settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# `make quick ARGS=--hypothesis-profile=hunt` looks for what the fixed examples miss.
settings.register_profile("hunt", settings.get_profile("ci"), derandomize=False, max_examples=5000, print_blob=True)
settings.load_profile("ci")

pytest_plugins = ["lab.fixtures"]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hide the settings, caches and keys of whoever runs the tests; returns the test's own home."""
    for name in [name for name in os.environ if name.startswith("PINFOLD_")]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    return home


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count a skipped test as failed: what did not run proves nothing."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}; let it run everywhere, or remove it"
    return report
