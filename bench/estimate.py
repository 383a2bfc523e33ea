"""How long a bench will take and how much disk it needs, told before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# Seconds of all rows of one round, measured on two cores: for each GB, and for each 100,000 files.
_ROUND: Final = {
    "tree": {"pinfold": (8, 28), "restic": (20, 22), "kopia": (16, 22), "borg": (20, 30)},
    "dump": {"pinfold": (6, 0), "restic": (10, 0), "kopia": (7, 0), "borg": (9, 0)},
    "data": {"pinfold": (8, 0), "restic": (9, 0), "kopia": (9, 0), "borg": (14, 0)},
    "million": {"pinfold": (0, 20), "restic": (0, 0), "kopia": (0, 0), "borg": (0, 0)},
}
_MAKING: Final = {"tree": (6, 15), "dump": (40, 0), "data": (8, 0), "million": (0, 20)}
_START: Final = 5.0  # each tool: starting, waiting for the disk, making repositories
_REST: Final = 60.0  # after each round whose restored files are many
_MANY_FILES: Final = 10_000
# What a round leaves on the disk, as a part of the data: the repository and what is restored.
_LEFT: Final = {"tree": 1.6, "dump": 1.5, "data": 2.05, "million": 1.0}
_KEPT: Final = {"tree": 1.0, "dump": 3.0, "data": 1.0, "million": 1.0}
_BLOCK: Final = 4096  # of the disk: a small file takes a whole one

Sizes = dict[str, tuple[int, float]]


def seconds(sizes: Sizes, tools: Sequence[str], rounds: int) -> float:
    """For all groups.  `sizes`: by group, the number of files and MB."""
    total = 0.0
    for group, size in sizes.items():
        each = sum(_START + _cost(_ROUND[group][tool], size) for tool in tools)
        rest = _REST if size[0] >= _MANY_FILES else 0.0
        total += _cost(_MAKING[group], size) + rounds * (each + rest)
    return total


def space(sizes: Sizes, tools: Sequence[str]) -> float:
    """MB of disk at the most."""
    taken = {group: max(megabytes, files * _BLOCK / 1e6) for group, (files, megabytes) in sizes.items()}
    kept = sum(_KEPT[group] * size for group, size in taken.items())
    return kept + max(_LEFT[group] * size * len(tools) for group, size in taken.items())


def _cost(cost: tuple[float, float], size: tuple[int, float]) -> float:
    return cost[0] * size[1] / 1000 + cost[1] * size[0] / 100_000
