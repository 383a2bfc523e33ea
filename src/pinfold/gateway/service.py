"""The gateway as a door: what a request asks for, where it lies, how it is answered.

What may go wrong is settled before the first byte; what goes wrong later breaks the stream off.  Nothing of the
machine behind the gateway (paths, addresses of stores) is told to clients; the log has it.

Source: https://specs.ipfs.tech/http-gateways/path-gateway/ and trustless-gateway.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from pinfold.clock import SystemClock
from pinfold.door import BadRequest, Response, text
from pinfold.errors import Corrupt, Malformed, Missing, PinfoldError, Unavailable
from pinfold.gateway import asked as address
from pinfold.gateway import car, file, filetree, folder, formats, headers, names, raw, resolve
from pinfold.gateway.blocks import Blocks, Supply
from pinfold.gateway.formats import DOCUMENTS, Format
from pinfold.gateway.ranges import OutsideError
from pinfold.gateway.record import Records
from pinfold.ipld import Kind, kind, read_symlink
from pinfold.ipld.cid import CID, IDENTITY, SHA2_256

if TYPE_CHECKING:
    from pinfold.clock import Clock
    from pinfold.door import Request
    from pinfold.gateway.asked import Asked
    from pinfold.gateway.resolve import Way
    from pinfold.gateway.settings import Settings
    from pinfold.store.seam import Store

_RETRY: Final = ("Retry-After", "10")
_ONLY: Final = "blocks, CARs and IPNS records only are served here: ask for format=raw, car or ipns-record"
_VERIFIABLE: Final = frozenset({"raw", "car", "ipns-record"})


class Gateway:
    """A gateway over one store: a Door, and safe from any thread.  `close` it when no more requests come."""

    def __init__(self, store: Store, settings: Settings, clock: Clock | None = None) -> None:
        """`store`: read only, by `get` and `has`; not closed here."""
        self._settings = settings
        self._supply = Supply(store, settings.held_bytes, settings.remembered)
        self._records = Records(settings.records, clock or SystemClock())

    def close(self) -> None:
        """Stop fetching ahead."""
        self._supply.close()

    def __call__(self, request: Request) -> Response:
        """Answer one request; never raises for what a client or the content may do."""
        try:
            response = self._answer(request)
        except PinfoldError as error:
            response = _told(error)
        response.headers += headers.CORS
        if request.method == "HEAD":
            _leave_head(response)
        return response

    def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(200, [("Allow", headers.METHODS), ("Content-Length", "0")])
        if request.method not in {"GET", "HEAD"}:
            return text(
                405, f"{request.method[:20]} is not allowed: this gateway is read only", ("Allow", headers.METHODS)
            )
        moved = _moved(request)
        if moved is not None:
            return moved
        asked = address.take_apart(request.path)
        if request.header("service-worker") == "script" and not asked.names:
            raise BadRequest(
                400, "a service worker cannot stand at the root of content: it would rule over other roots"
            )
        wanted = formats.wanted(request)
        if self._settings.trustless_only:
            _check_trustless(request, asked, wanted)
        if asked.namespace == "ipns":
            return self._named(request, asked, wanted)
        return self._content(request, asked, wanted, _root(asked.root), asked.names, None)

    def _named(self, request: Request, asked: Asked, wanted: Format) -> Response:
        name = names.parse(asked.root)
        short = names.write(name)
        if short != asked.root:
            rest = "".join("/" + quote(part, safe="") for part in asked.names) + ("/" if asked.slash else "")
            return _redirect(302, f"/ipns/{short}{rest}{address.query(request)}")
        if wanted.name != "ipns-record":
            root, before, seconds = self._records.resolve(name)
            return self._content(request, asked, wanted, root, before + asked.names, seconds)
        if asked.names:
            raise BadRequest(400, "a record is of a name, not of a path below it")
        record = self._records.get(name)
        etag = f'"{hashlib.sha256(record.raw).hexdigest()[:32]}"'
        kept = [("Etag", etag), headers.max_age(record.ttl), ("X-Ipfs-Path", asked.path), headers.NOSNIFF]
        if headers.matches(request.header("if-none-match"), etag):
            return Response(304, kept)
        kept.append(address.disposition("attachment", address.filename(request) or f"{short}.ipns-record"))
        kept += [("Content-Type", formats.RECORD_TYPE), ("Content-Length", str(len(record.raw)))]
        return Response(200, kept, record.raw)

    def _content(
        self, request: Request, asked: Asked, wanted: Format, root: CID, path: tuple[str, ...], seconds: int | None
    ) -> Response:
        if wanted.name == "ipns-record":
            raise BadRequest(400, "a record is of a name below /ipns/, not of content")
        blocks = Blocks(self._supply)
        cached_only = "only-if-cached" in request.header("cache-control").lower()
        try:
            if cached_only and not blocks.has(root):
                raise Missing(root)  # noqa: TRY301  told as all that is not here
            way = resolve.walk(root, path, blocks, self._refuse)
            response = self._represent(request, asked, wanted, way, blocks)
        except Missing as error:
            blocks.close()
            if cached_only:
                raise BadRequest(412, f"{error.name} is not held here") from None
            raise
        except BaseException:
            blocks.close()
            raise
        given = {name for name, _ in response.headers}
        if response.status < 400 and response.status != 301 and "Cache-Control" not in given:
            response.headers.append(headers.max_age(seconds))
        response.headers += [
            ("X-Ipfs-Path", asked.path),
            ("X-Ipfs-Roots", ",".join(way.texts)),
            ("Vary", "Accept"),
            headers.NOSNIFF,
        ]
        response.log |= {"cid": way.text, "format": wanted.name or "page"}
        return response

    def _represent(self, request: Request, asked: Asked, wanted: Format, way: Way, blocks: Blocks) -> Response:
        if wanted.name == "car":
            return self._car(request, asked, wanted, way, blocks)
        if wanted.name:
            return _block(request, asked, wanted, way, blocks)
        if way.end.codec in DOCUMENTS:
            return _block(request, asked, Format(DOCUMENTS[way.end.codec][0], explicit=True), way, blocks)
        what = kind(way.end, lambda cid: filetree.outline(blocks.meet(cid)).bare)
        if what is Kind.FOLDER:
            return self._folder(request, asked, way, blocks)
        etag = f'"{way.text}"'
        blocks.meet(way.end)
        if headers.matches(request.header("if-none-match"), etag):
            return Response(304, [("Etag", etag)])
        name = asked.names[-1] if asked.names else ""
        if what is Kind.SYMLINK:
            response = file.symlink(request, way.end, read_symlink(way.end, blocks.meet), name)
        else:
            response = file.file(request, way.end, name, etag, blocks)
        response.headers.append(("Etag", etag))
        return response

    def _folder(self, request: Request, asked: Asked, way: Way, blocks: Blocks) -> Response:
        if not asked.slash:
            return _redirect(301, f"{asked.path}/{address.query(request)}")
        index = folder.index(way.end, blocks)
        own, listed = f'"{way.text}"', folder.etag(way.end, request)
        etag = listed if index is None else own
        if headers.matches(request.header("if-none-match"), own, listed):
            return Response(304, [("Etag", etag)])
        if index is not None:
            response = file.file(request, index, folder.INDEX, etag, blocks)
        else:
            response = folder.listing(request, asked, way.end, blocks, self._settings.page)
            response.headers.append(("Cache-Control", folder.CACHE))
        response.headers.append(("Etag", etag))
        return response

    def _car(self, request: Request, asked: Asked, wanted: Format, way: Way, blocks: Blocks) -> Response:
        planned = car.plan(way, wanted.car, blocks)
        etag = planned.etag()
        if headers.matches(request.header("if-none-match"), etag):
            return Response(304, [("Etag", etag)])
        name = "_".join((way.texts[0], *asked.names[-1:])) + ".car"
        kept = [
            ("Etag", etag),
            ("Content-Type", wanted.car.content_type),
            ("Accept-Ranges", "none"),
            address.disposition("attachment", address.filename(request) or name),
            *_location(request, asked, wanted),
        ]
        return Response(200, kept, b"" if request.method == "HEAD" else car.stream(planned, blocks, self._supply))

    def _refuse(self, cid: CID) -> None:
        if self._settings.refused and cid.multihash in self._settings.refused:
            raise BadRequest(410, f"{cid} is not served here")


def _leave_head(response: Response) -> None:
    """Drop the body of an answer to HEAD, and keep its length where it is known."""
    if isinstance(response.body, bytes):
        if response.body and not any(name == "Content-Length" for name, _ in response.headers):
            response.headers.append(("Content-Length", str(len(response.body))))
        # An empty stream has no length, where empty bytes would be told to have none.
        response.body = response.body[:0] if response.body else iter(())


def _block(request: Request, asked: Asked, wanted: Format, way: Way, blocks: Blocks) -> Response:
    content_type = raw.document_type(way.end, wanted.name)
    etag = f'"{way.text}.{wanted.name}"'
    if headers.matches(request.header("if-none-match"), etag) and blocks.has(way.end):
        return Response(304, [("Etag", etag)])
    response = raw.sliced(request, blocks.part(way.end), etag)
    name = address.filename(request) or f"{way.text}.{'bin' if wanted.name == 'raw' else wanted.name}"
    response.headers += [
        ("Etag", etag),
        ("Content-Type", content_type),
        address.disposition("attachment", name),
        *_location(request, asked, wanted),
    ]
    return response


def _root(part: str) -> CID:
    try:
        cid = CID.parse(part)
    except Malformed as error:
        raise BadRequest(400, f"{part[:80]!r} is no CID: {error.reason}") from None
    if cid.hash_code not in {SHA2_256, IDENTITY}:
        raise BadRequest(404, f"{part[:80]} is not here: only blocks hashed with sha2-256 are kept")
    return cid


def _check_trustless(request: Request, asked: Asked, wanted: Format) -> None:
    if not wanted.name and not request.header("accept"):
        raise BadRequest(400, _ONLY)
    fits = wanted.name == "ipns-record" if asked.namespace == "ipns" else wanted.name in {"raw", "car"}
    if not fits or (wanted.name != "car" and asked.names):
        raise BadRequest(406, _ONLY)


def _moved(request: Request) -> Response | None:
    """Send on who comes with an address of another kind: ipfs://CID in `uri`, or a namespace too many."""
    uri = request.option("uri")
    if uri and request.path in {"/ipfs/", "/ipns/"}:
        try:
            parts = urlsplit(uri)
        except ValueError:
            raise BadRequest(400, "uri is no address") from None
        if parts.scheme not in {"ipfs", "ipns"} or not parts.netloc:
            raise BadRequest(400, "uri must begin with ipfs:// or ipns://")
        place = quote(f"/{parts.scheme}/{parts.netloc}{parts.path}", safe="/%:@!$&'()*+,;=-._~")
        return _redirect(301, place + ("?" + quote(parts.query, safe="%&=+/:@-._~") if parts.query else ""))
    if request.path.startswith(("/ipfs/ipfs/", "/ipfs/ipns/")):
        return _redirect(301, address.take_apart(request.path.removeprefix("/ipfs")).path + address.query(request))
    return None


def _redirect(status: int, where: str) -> Response:
    return text(status, where, ("Location", where))


def _location(request: Request, asked: Asked, wanted: Format) -> list[tuple[str, str]]:
    """Name the answer by an address alone, where the request named it by its Accept header."""
    if wanted.explicit:
        return []
    said = address.query(request, frozenset({"format"}))
    more = f"format={wanted.name}"
    if wanted.name == "car" and request.option("car-dups") is None:
        more += f"&car-dups={'y' if wanted.car.dups else 'n'}"
    return [("Content-Location", f"{asked.path}{said}{'&' if said else '?'}{more}")]


def _told(error: PinfoldError) -> Response:
    """Tell a client what went wrong, and the log all of it."""
    if isinstance(error, OutsideError):
        response = text(error.status, str(error), ("Content-Range", f"bytes */{error.size}"))
    elif isinstance(error, BadRequest):
        response = text(error.status, str(error))
    elif isinstance(error, Missing):
        response = text(404, f"block {error.name} is not here")
    elif isinstance(error, Malformed):
        response = text(422, f"this content makes no sense: {error}")
    elif isinstance(error, Unavailable):
        response = text(503, "the store behind this gateway does not answer; try again later", _RETRY)
    elif isinstance(error, Corrupt):
        response = text(500, f"block {error.name} is damaged here")
    else:
        response = text(500, "the store behind this gateway failed")
    response.log["error"] = str(error)
    return response
