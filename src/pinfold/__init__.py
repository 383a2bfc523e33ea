"""pinfold: encrypted, verifiable, decentralised backups onto IPFS."""

__version__ = "0.1.0"
