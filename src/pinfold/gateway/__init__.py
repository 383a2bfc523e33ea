"""The gateway: IPFS content out of any store over HTTP, for machines that trust nothing and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinfold.gateway.service import Gateway
from pinfold.gateway.settings import Settings

if TYPE_CHECKING:
    from pinfold.store.seam import Store

__all__ = ["Gateway", "Settings", "gateway"]


def gateway(store: Store, settings: Settings | None = None) -> Gateway:
    """Return a door that serves `store`; `close` it when no more requests come."""
    return Gateway(store, settings or Settings())
