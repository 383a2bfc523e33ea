"""The one place that names concrete classes: settings in, built objects out.

Everything heavy is imported where it is needed, so that `pinfold --help` stays below 200 ms.
"""

from pinfold.wiring.repository import (
    Made,
    Opened,
    Owned,
    for_backup,
    init,
    looked_at,
    opened,
    owned,
    owner_node,
    owner_pages,
)
from pinfold.wiring.secrets import Ask, agent_path, passphrase, passphrase_file, write_agent
from pinfold.wiring.sources import directory, walk
from pinfold.wiring.stores import elsewhere, one_store, place, store

__all__ = [
    "Ask",
    "Made",
    "Opened",
    "Owned",
    "agent_path",
    "directory",
    "elsewhere",
    "for_backup",
    "init",
    "looked_at",
    "one_store",
    "opened",
    "owned",
    "owner_node",
    "owner_pages",
    "passphrase",
    "passphrase_file",
    "place",
    "store",
    "walk",
    "write_agent",
]
