"""A store that is a pinning service: it fetches what it is told to pin."""

from pinfold.store.pinning.store import PinningStore

__all__ = ["PinningStore"]
