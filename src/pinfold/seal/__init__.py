"""Sealing: everything between plaintext and blocks.  Pure: bytes in, bytes out, no I/O.

No plaintext, path or name leaves this room unsealed.
"""
