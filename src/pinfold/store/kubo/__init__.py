"""Kubo nodes as stores, over their RPC."""

from pinfold.store.kubo.store import KuboStore

__all__ = ["KuboStore"]
