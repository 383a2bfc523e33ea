"""Headers that every answer shares: caching, conditions, permissions for scripts of other origins.

Source: https://specs.ipfs.tech/http-gateways/path-gateway/ and RFC 9110 section 13.
"""

from __future__ import annotations

import re
from typing import Final

IMMUTABLE: Final = "public, max-age=29030400, immutable"
NOSNIFF: Final = ("X-Content-Type-Options", "nosniff")
METHODS: Final = "GET, HEAD, OPTIONS"
# As Kubo gives: content is public by its CID, so any page may read it.
CORS: Final = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", METHODS),
    ("Access-Control-Allow-Headers", "Content-Type, Range, User-Agent, X-Requested-With"),
    (
        "Access-Control-Expose-Headers",
        "Content-Length, Content-Range, X-Chunked-Output, X-Ipfs-Path, X-Ipfs-Roots, X-Stream-Output",
    ),
)
_TAG: Final = re.compile(r'[ \t,]*(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def matches(header: str, *tags: str) -> bool:
    """Whether an If-None-Match header names one of `tags`; weak and strong ones compare alike."""
    if header.strip() == "*":
        return True
    wanted = {tag.removeprefix("W/") for tag in tags}
    at = 0
    while found := _TAG.match(header, at):
        if found[1] in wanted:
            return True
        at = found.end()
    return False


def max_age(seconds: int | None) -> tuple[str, str]:
    """Return the Cache-Control of content that may change after `seconds`; None: of content that never does."""
    return "Cache-Control", IMMUTABLE if seconds is None else f"public, max-age={seconds}"
