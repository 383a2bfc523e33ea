"""IPFS Cluster as a store: several Kubo nodes that keep the same pins, reached through the peers' REST interface."""

from pinfold.store.cluster.store import ClusterStore

__all__ = ["ClusterStore"]
