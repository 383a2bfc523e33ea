"""Servers that look well and are not: a Kubo that keeps nothing, a gateway that gives other bytes."""

from __future__ import annotations

import io
import json

from lab.liar import Answer, Liar, Request
from lab.lies import JSON, LINES, RAW
from pinfold.ipld.car import read_car

OTHER = b"not what was asked for"
ABOUT = {
    "version": {"Version": "0.42.0", "Commit": "", "Repo": "18", "System": "amd64/linux", "Golang": "go1.26"},
    "id": {"ID": "12D3KooWLiar", "Addresses": [], "AgentVersion": "kubo/0.42.0/"},
    "repo/stat": {"RepoSize": 0, "StorageMax": 10**10, "NumObjects": 0, "RepoPath": "", "Version": "fs-repo@18"},
}


class LyingKubo(Liar):
    """A Kubo RPC that takes all, says it is pinned, and keeps nothing but the names of its pins.

    `pinned` maps what it claims to pin, CID to name, and can be set; any block it claims to have, and gives other
    bytes for. What a CAR holds it counts rightly: its answers to dag/import are those of an honest node.
    """

    def __init__(self, truth: str | None = None) -> None:
        super().__init__(truth)
        self.pinned: dict[str, str] = {}

    def manner(self, request: Request) -> Answer | None:
        """Answer as Kubo would, had it done what it was asked."""
        call = request.path.removeprefix("/api/v0/")
        match call:
            case "version" | "id" | "repo/stat":
                return one(ABOUT[call])
            case "dag/import":
                return self._import(request)
            case "pin/ls":
                return self._list(request)
            case "pin/add" | "pin/update" | "pin/rm":
                return self._pin(call, request)
            case "block/stat":
                return one({"Key": request.query("arg")[0], "Size": len(OTHER)})
        return Answer(200, RAW, [OTHER], len(OTHER)) if call in {"block/get", "cat", "dag/export"} else None

    def _import(self, request: Request) -> Answer:
        roots, sizes = unpack(request.body)
        pins = request.query("pin-roots") != ["false"]
        if pins:
            self.pinned |= dict.fromkeys(roots, "")
        lines: list[object] = [{"Root": {"Cid": {"/": root}, "PinErrorMsg": ""}} for root in roots] if pins else []
        if request.query("stats") == ["true"]:
            lines.append({"Stats": {"BlockCount": len(sizes), "BlockBytesCount": sum(sizes)}})
        return Answer(200, LINES, [json.dumps(line).encode() + b"\n" for line in lines])

    def _list(self, request: Request) -> Answer:
        asked = request.query("arg") or list(self.pinned)
        missing = [cid for cid in asked if cid not in self.pinned]
        if missing:
            return one({"Message": f"path '{missing[0]}' is not pinned", "Code": 0, "Type": "error"}, status=500)
        keys = {cid: {"Type": "recursive", "Name": self.pinned[cid]} for cid in asked}
        if request.query("stream") == ["true"]:
            return Answer(200, LINES, [json.dumps({"Cid": cid, **pin}).encode() + b"\n" for cid, pin in keys.items()])
        return one({"Keys": keys})

    def _pin(self, call: str, request: Request) -> Answer:
        cids = [arg.removeprefix("/ipfs/") for arg in request.query("arg")]
        if call == "pin/rm":
            for cid in cids:
                self.pinned.pop(cid, None)
        elif call == "pin/update":
            self.pinned[cids[1]] = self.pinned.get(cids[0], "")
            if request.query("unpin") != ["false"]:
                self.pinned.pop(cids[0], None)
        else:
            self.pinned |= dict.fromkeys(cids, *request.query("name")[:1] or [""])
        return one({"Pins": cids})


class LyingGateway(Liar):
    """A gateway that answers every /ipfs/ path with other bytes; with a truth, only what lie() tells it to."""

    def manner(self, request: Request) -> Answer | None:
        """Answer with other bytes, under the right headers."""
        if self.truth is not None or not request.path.startswith("/ipfs/"):
            return None
        cid = request.path.split("/")[2]
        return Answer(200, {**RAW, "ETag": f'"{cid}.raw"', "X-Ipfs-Path": request.path}, [OTHER], len(OTHER))


def one(document: object, *, status: int = 200) -> Answer:
    """Return an answer of one document."""
    body = json.dumps(document).encode() + b"\n"
    return Answer(status, JSON, [body], len(body))


def unpack(multipart: bytes) -> tuple[list[str], list[int]]:
    """Return the roots of a CAR in a multipart body, and the sizes of its blocks."""
    boundary, _, rest = multipart.partition(b"\r\n")
    car = rest.partition(b"\r\n\r\n")[2].rpartition(b"\r\n" + boundary)[0]
    roots, blocks = read_car(io.BytesIO(car))
    return [str(root) for root in roots], [len(block.data) for block in blocks]
