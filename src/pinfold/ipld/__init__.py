"""IPLD as pinfold writes it, byte-equal to Kubo under the profile unixfs-v1-2025.  Pure: no I/O."""

from pinfold.ipld.cid import CID

__all__ = ["CID"]
