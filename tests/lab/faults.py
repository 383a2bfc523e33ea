"""What a proxy does to chosen requests: answers in the server's place, cuts the connection, or falls silent."""

from __future__ import annotations

import http
import re
import threading
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class Fault:
    """One thing that goes wrong.

    path: a pattern searched in "METHOD /path?query". nth: the first matching request that is hit, counted from 1;
    times: how many are, None for all from then on. of and after: it happens once so many bytes of that message's body
    (framing of chunks included) were passed on; what is shorter passes unhurt.
    """

    action: Literal["cut", "stall", "status"]
    path: str = ""
    nth: int = 1
    times: int | None = 1
    of: Literal["request", "response"] = "request"
    after: int = 0
    status: int = 500
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    matched: int = 0
    struck: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def meets(self, request: str) -> bool:
        """Count the request if it matches; returns whether this is one to be hit."""
        if re.search(self.path, request) is None:
            return False
        self.matched += 1
        return self.matched >= self.nth and (self.times is None or self.matched < self.nth + self.times)

    def wait(self, seconds: float = 30.0) -> None:
        """Return once it has happened; raises TimeoutError."""
        if not self.struck.wait(seconds):
            raise TimeoutError(f"waited {seconds:g} s in vain for the {self.action} of {self.path or 'a request'}")

    def release(self) -> None:
        """Let go of what was stalled."""
        self.released.set()

    def answer(self) -> bytes:
        """The response sent in the server's place."""
        body = self.body or b'{"Message":"made by the laboratory","Code":0,"Type":"error"}'
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"HTTP/1.1 {self.status} {http.HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in (headers | self.headers).items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
