"""Content types of files: by the ending of their name, else by their first bytes.

The table is this program's own, not the machine's, so that the same file has the same type everywhere.
Source: https://www.iana.org/assignments/media-types and https://mimesniff.spec.whatwg.org/.
"""

from __future__ import annotations

import mimetypes
from typing import Final

SNIFFED: Final = 512
UNKNOWN: Final = "application/octet-stream"
SYMLINK: Final = "inode/symlink"
# What a browser runs scripts of.
ACTIVE: Final = frozenset({"text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml"})

_TABLE: Final = mimetypes.MimeTypes()
for _ending, _kind in {
    ".7z": "application/x-7z-compressed",
    ".avif": "image/avif",
    ".car": "application/vnd.ipld.car",
    ".flac": "audio/flac",
    ".js": "text/javascript",
    ".jxl": "image/jxl",
    ".m4a": "audio/mp4",
    ".m4v": "video/mp4",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mkv": "video/x-matroska",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/opus",
    ".otf": "font/otf",
    ".rst": "text/x-rst",
    ".sql": "application/sql",
    ".toml": "application/toml",
    ".ttf": "font/ttf",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}.items():
    _TABLE.add_type(_kind, _ending)
_PACKED: Final = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
_MAGIC: Final = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftyp", "video/mp4"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\xfd7zXZ\0", "application/x-xz"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\0asm", "application/wasm"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"wOF2", "font/woff2"),
    (0, b"age-encryption.org/", "application/octet-stream"),
    (257, b"ustar", "application/x-tar"),
)
_HTML: Final = (b"<!doctype html", b"<html", b"<head", b"<body")
_CONTROL: Final = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))


def by_name(name: str) -> str:
    """Return the type that the ending of `name` tells, empty where it tells none."""
    kind, packed = _TABLE.guess_type("/" + name.rpartition("/")[2])
    if packed:
        return _PACKED.get(packed, UNKNOWN)
    return _with_charset(kind or "")


def by_content(head: bytes, *, cut: bool | None = None) -> str:
    """Return the type that the first bytes of a file tell, SNIFFED of them at most.

    `cut`: whether the file goes on behind them; where it is not said, those that end sooner are all of it.
    """
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    if head.lstrip()[:16].lower().startswith(_HTML):
        return "text/html"
    if head.translate(None, _CONTROL) != head:
        return UNKNOWN
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # A letter may be cut in two at the end of what was read.
        if not (len(head) >= SNIFFED if cut is None else cut) or error.start < len(head) - 3:
            return UNKNOWN
    return "text/plain; charset=utf-8"


def _with_charset(kind: str) -> str:
    # HTML says its own, and is believed.
    return f"{kind}; charset=utf-8" if kind.startswith("text/") and kind != "text/html" else kind
