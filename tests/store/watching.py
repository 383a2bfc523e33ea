"""What went through a proxy from some moment on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.proxy import Proxy


class Watch:
    """Counts from now on, also on connections that are open already."""

    def __init__(self, proxy: Proxy) -> None:
        self._counts = proxy.counts
        self._first = len(self._counts.targets)
        self._up = self._counts.bytes_up

    @property
    def sent(self) -> int:
        """Bytes on their way to the server, heads included."""
        return self._counts.bytes_up - self._up

    @property
    def queries(self) -> list[str]:
        """The calls to Kubo's RPC with their queries, in order: "pin/ls?type=recursive"."""
        found = (target.partition("/api/v0/")[2] for target in self._counts.targets[self._first :])
        return [query for query in found if query]

    @property
    def calls(self) -> list[str]:
        """The calls to Kubo's RPC by name, in order."""
        return [query.partition("?")[0] for query in self.queries]
