"""The gateway: IPFS content out of any store over HTTP, for machines that trust nothing and for people."""
