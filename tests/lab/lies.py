"""Ready lies for lab.liar: `liar.lie("block/get", endless())`. Each is a function from a request to an answer."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

from lab.liar import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.liar import Request

    Lie = Callable[[Request], Answer]

RAW = {"Content-Type": "application/vnd.ipld.raw"}
JSON = {"Content-Type": "application/json"}
LINES = {**JSON, "X-Chunked-Output": "1"}
PART = bytes(64 << 10)


def says(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Lie:
    """Answer with these bytes whatever was asked for."""
    return lambda _: Answer(status, RAW if headers is None else headers, [body], len(body))


def says_json(document: object, *, status: int = 200) -> Lie:
    """Answer with a document."""
    return says(json.dumps(document).encode() + b"\n", status=status, headers=JSON)


def says_lines(*documents: object) -> Lie:
    """Answer with a stream of documents, one a line."""
    lines = [json.dumps(document).encode() + b"\n" for document in documents]
    return lambda _: Answer(200, LINES, lines)


def refuses(status: int, message: str = "made by the laboratory") -> Lie:
    """Answer with an error as Kubo tells it."""
    return says_json({"Message": message, "Code": 0, "Type": "error"}, status=status)


def endless(part: bytes = PART) -> Lie:
    """Answer with bytes without end."""
    return lambda _: Answer(200, RAW, itertools.repeat(part))


def endless_lines(document: object = None) -> Lie:
    """Answer with documents without end, one a line."""
    line = json.dumps({"Keys": {}} if document is None else document).encode() + b"\n"
    return lambda _: Answer(200, LINES, itertools.repeat(line))


def endless_line() -> Lie:
    """Answer with one line of JSON that never ends."""
    return lambda _: Answer(200, LINES, itertools.chain([b'{"Name":"'], itertools.repeat(b"x" * len(PART))))


def deep_json(depth: int = 200_000) -> Lie:
    """Answer with JSON nested so deep that a reader which recurses falls over."""
    return says(b"[" * depth + b"]" * depth + b"\n", headers=JSON)


def garbage() -> Lie:
    """Answer with what is no JSON, under its name."""
    return says(b'{"Keys": \xff\xfe not at all\n', headers=JSON)


def no_http() -> Lie:
    """Answer with what is no HTTP."""
    return lambda _: Answer(raw=True, parts=[b"220 mail.example ESMTP\r\n" * 10])


def never() -> Lie:
    """Take the request, and never answer."""

    def silence(request: Request) -> Iterator[bytes]:
        request.closing.wait()
        yield b""

    return lambda request: Answer(raw=True, parts=silence(request))


def drip(data: bytes, *, seconds: float = 0.05, size: int = 1) -> Lie:
    """Answer with these bytes, a few at a time with a pause before each."""

    def drops(request: Request) -> Iterator[bytes]:
        for at in range(0, len(data), size):
            request.closing.wait(seconds)
            yield data[at : at + size]

    return lambda request: Answer(200, RAW, drops(request), len(data))


def cut_short(data: bytes, *, promised: int) -> Lie:
    """Promise more bytes than come before the connection ends."""
    return lambda _: Answer(200, RAW, [data], promised)


def redirects(location: str, *, status: int = 302) -> Lie:
    """Send the client elsewhere; "{target}" in the location stands for the path and query asked for."""
    return lambda request: Answer(status, {"Location": location.format(target=request.target)}, [], 0)


def huge_header(size: int = 10 << 20) -> Lie:
    """Answer with one header of so many bytes."""
    return lambda _: Answer(200, {"X-Huge": "x" * size}, [], 0)


def endless_headers() -> Lie:
    """Answer with headers that never end."""
    head = [b"HTTP/1.1 200 OK\r\n"]
    return lambda _: Answer(raw=True, parts=itertools.chain(head, itertools.repeat(b"X-More: and more\r\n" * 100)))


def bomb(size: int = 1 << 30) -> Lie:
    """Answer with a gzip of so many zeros, a thousandth of their size on the wire."""
    import zlib  # noqa: PLC0415  only here

    def packed() -> Iterator[bytes]:
        packer = zlib.compressobj(wbits=31)
        for _ in range(size // len(PART)):
            yield packer.compress(PART)
        yield packer.flush()

    return lambda _: Answer(200, {**RAW, "Content-Encoding": "gzip"}, packed())
