"""The thin HTTP client that all far stores share: bounded answers, streamed uploads, one family of errors.

Whatever a server does, a call ends: connecting, every read and the whole of a bounded answer have their
time, and no more bytes are taken than the caller allows.  Nothing is tried again here (layers.Retry does),
no redirect is followed, and the token is written into the request and nowhere else.  Errors that another attempt
would meet again are Unreachable: a name that nobody knows, a certificate without trust, no TLS where TLS is asked for.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, SSLError

from pinfold.errors import Full, Refused, StoreError, Unavailable, UsageError
from pinfold.store.deadline import Deadline, watch
from pinfold.store.deadline import within as within_head
from pinfold.store.layers import NobodyListens, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pinfold.seal.secret import Secret

    Failure = Callable[[int, str], StoreError]
    Query = Sequence[tuple[str, str]]

MAX_JSON: Final = 64 << 20
MAX_LINE: Final = 1 << 20
_MAX_COMPLAINT: Final = 4096
_PIECE: Final = 1 << 16
_REFUSALS: Final = (401, 403)
_NO_NAME: Final = (socket.EAI_NONAME, socket.EAI_NODATA)
# What OpenSSL calls an answer that is no TLS, by its versions.
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})
# The two sides have no version or cipher in common, or the server wants a certificate of its client.
_NO_AGREEMENT: Final = (
    "PROTOCOL_VERSION",
    "UNSUPPORTED_PROTOCOL",
    "NO_PROTOCOLS_AVAILABLE",
    "HANDSHAKE_FAILURE",
    "CERTIFICATE_REQUIRED",
)


class Answer:
    """A response under way.  Read it within the `with` it came from."""

    def __init__(self, response: urllib3.BaseHTTPResponse, where: str, deadline: Deadline) -> None:
        self._response = response
        self._where = where
        self._deadline = deadline
        self.status = response.status

    def header(self, name: str) -> str:
        """A header's value, empty where there is none."""
        return str(self._response.headers.get(name, ""))

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes, in pieces of at most 64 KiB.  Raises Unavailable when it breaks off or takes long."""
        try:
            # read1 gives what is there: a server that drips must not hold us until 64 KiB are full.
            while piece := self._response.read1(_PIECE):
                yield piece
                if time.monotonic() > self._deadline.at:
                    raise Unavailable(f"{self._where} answers too slowly")
            self._deadline.end()  # the connection may be another's now
            if self._deadline.passed:  # a body without a length ends when the socket is shut
                raise Unavailable(f"{self._where} answers too slowly")
        except (HTTPError, OSError) as error:
            if self._deadline.passed:
                raise Unavailable(f"{self._where} answers too slowly") from error
            raise Unavailable(f"{self._where} broke off in the middle of an answer ({reason(error)})") from error

    def read(self, most: int) -> bytes:
        """The whole body.  Raises Refused when it is longer than `most` bytes, Unavailable when it breaks off."""
        body = bytearray()
        for piece in self.pieces():
            body += piece
            if len(body) > most:
                raise Refused(f"{self._where} answers with more than the {most} bytes there can be")
        return bytes(body)

    def lines(self, most: int | None = None) -> Iterator[Any]:
        """The body as JSON values, one on each line.

        Raises Refused for what is none, and when the body is longer than `most` bytes; Unavailable.
        """
        rest = b""
        size = 0
        for piece in self.pieces():
            size += len(piece)
            if most is not None and size > most:
                raise Refused(f"{self._where} answers with more than the {most} bytes there can be")
            *whole, rest = (rest + piece).split(b"\n")
            if len(rest) > MAX_LINE:
                raise Refused(f"{self._where} answers with a line longer than {MAX_LINE} bytes")
            for line in whole:
                if line.strip():
                    yield parse(line, self._where)
        if rest.strip():
            yield parse(rest, self._where)


class Client:
    """One server.  Safe from any thread."""

    def __init__(
        self,
        url: str,
        *,
        authorization: Secret | None = None,
        ca_file: Path | None = None,
        timeout: float = 60.0,
        connections: int = 16,
        failure: Failure | None = None,
        usual_port: int | None = None,
    ) -> None:
        """`authorization`: the header's value; `timeout`: seconds of silence, and for a bounded answer to end.

        `connections`: how many are kept open for the next request.
        `failure`: the error that a status and the text of its answer stand for, in place of the usual ones.
        `usual_port`: where such servers listen, for the error when nobody does and the URL names no port.
        Raises UsageError for a URL that is none, and a `ca_file` that holds no certificates.
        """
        self.url = url.rstrip("/")
        self._base = urlsplit(self.url).path
        self._authorization = authorization
        self._timeout = timeout
        self._failure = failure or self.failure
        self._hint = f"; no port given, {usual_port}?" if usual_port and urlsplit(self.url).port is None else ""
        settings: dict[str, Any] = {"maxsize": connections, "block": False}
        if ca_file is not None:
            settings["ca_certs"] = str(_authorities(ca_file))
        try:
            self._pool = _pool(self.url, settings)
        except LocationValueError as error:
            raise UsageError(f"{url} is no address of a server: {error}") from error

    @contextlib.contextmanager
    def open(
        self,
        method: str,
        path: str,
        query: Query = (),
        *,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        within: float | None = None,
        accept: Sequence[int] = (200,),
    ) -> Iterator[Answer]:
        """Send a request, and hand its answer over while it comes.  A body that is no bytes is streamed.

        `path` begins with a slash and is quoted here; `timeout`: other seconds of silence than usual;
        `within`: seconds for the whole answer, the same as those of silence by default.
        Raises what `failure` makes of a status that is not in `accept`; Unavailable without an answer, which is
        Unreachable where there cannot be one; and what an iterator for `body` raises.
        """
        seconds = self._timeout if timeout is None else timeout
        target = self._base + quote(path) + (f"?{urlencode(query)}" if query else "")
        sent = dict(headers or {})
        if self._authorization is not None:
            sent["Authorization"] = self._authorization.reveal().decode("latin-1")
        feed = body if body is None or isinstance(body, bytes) else _Feed(body)
        response: urllib3.BaseHTTPResponse | None = None
        deadline: Deadline | None = None
        try:
            try:
                with within_head(seconds) as deadline:
                    response = self._pool.urlopen(
                        method,
                        target,
                        body=feed,
                        headers=sent,
                        retries=False,
                        redirect=False,
                        timeout=urllib3.Timeout(connect=min(seconds, 10.0), read=seconds),
                        preload_content=False,
                        decode_content=False,
                        chunked=isinstance(feed, _Feed),
                    )
            except (HTTPError, OSError, ValueError) as error:
                if isinstance(feed, _Feed) and feed.error is not None:
                    raise feed.error from error
                raise self._silence(error) from error
            deadline.extend(seconds if within is None else within)
            if deadline.passed:  # a head that was cut looks like a short one
                raise Unavailable(f"{self.url} answers too slowly")
            answer = Answer(response, self.url, deadline)
            if response.status not in accept:
                raise self._failure(response.status, _complaint(answer))
            yield answer
            # Only a connection whose answer was read to its end can be used again.
            if response.length_remaining == 0 or response.closed:
                response.release_conn()
        finally:
            if deadline is not None:
                deadline.end()
            if response is not None:
                response.close()

    def call(self, method: str, path: str, query: Query = (), *, most: int = MAX_JSON, **how: Any) -> bytes:  # noqa: ANN401  # as `open` takes them
        """The whole answer to a request; see `open` and `Answer.read`."""
        with self.open(method, path, query, **how) as answer:
            return answer.read(most)

    def json(self, method: str, path: str, query: Query = (), **how: Any) -> Any:  # noqa: ANN401  # JSON is anything
        """The answer to a request as JSON.  Raises Refused for what is none."""
        return parse(self.call(method, path, query, **how), self.url)

    def failure(self, status: int, text: str) -> StoreError:
        """The error that an answer with this status stands for, where the server's kind has no rules of its own."""
        said = f"{self.url} answers {status}" + (f": {text}" if text else "")
        if status in _REFUSALS:
            return Refused(f"{said}; look at its token, and at what that one may do")
        if status == 507 or "no space left" in text.lower():
            return Full(said)
        if status in {408, 425, 429} or status >= 500:
            return Unavailable(said)
        return Refused(said)

    def close(self) -> None:
        """Let go of all connections."""
        self._pool.close()

    def _silence(self, error: BaseException) -> Unavailable:
        """The error for a request that had no answer."""
        cause = _root(error)
        if isinstance(error, LocationValueError) or (isinstance(cause, socket.gaierror) and cause.errno in _NO_NAME):
            return Unreachable(f"{self.url} does not answer ({reason(error)}): is its name right?")
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = cause.verify_message.rstrip(".")
            return Unreachable(
                f"{self.url} shows a certificate that is not trusted ({why}); ca_file names a file with those that are"
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
            return Unreachable(f"{self.url} speaks no TLS ({cause.reason}): is it http://?")
        if isinstance(cause, ssl.SSLError) and any(words in (cause.reason or "") for words in _NO_AGREEMENT):
            return Unreachable(f"{self.url} and pinfold do not agree on TLS ({cause.reason})")
        said = f"{self.url} does not answer ({reason(error)})"
        if isinstance(cause, ConnectionRefusedError):
            return NobodyListens(said + self._hint)
        return Unavailable(said)


class _Feed:
    """A body to be streamed; remembers the error its source raised, lest it pass for one of the network."""

    def __init__(self, source: Iterable[bytes]) -> None:
        self._source = source
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._source
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise


def parse(text: bytes, where: str) -> Any:  # noqa: ANN401  # JSON is anything
    """JSON from `where`.  Raises Refused."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{where} answers with no JSON: is this the right address?") from error


def reason(error: BaseException) -> str:
    """A few words on why a request failed, without the addresses of objects in memory."""
    if isinstance(error, SSLError):
        return f"TLS: {error.args[0] if error.args else error}"
    error = _root(error)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _root(error: BaseException) -> BaseException:
    """What the system said.  No deeper: beyond it is what went wrong before, where a failure is being handled."""
    while not isinstance(error, OSError) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__ or error
    return error


def _complaint(answer: Answer) -> str:
    """What a server says of its failure, on one line, as far as it can be read."""
    text = b""
    with contextlib.suppress(StoreError):
        for piece in answer.pieces():
            text += piece
            if len(text) >= _MAX_COMPLAINT:
                break
    with contextlib.suppress(ValueError, RecursionError):
        told = json.loads(text)
        if isinstance(told, dict):
            for key in ("Message", "message", "error"):
                inner = told.get(key)
                if isinstance(inner, dict):
                    inner = " ".join(str(inner.get(part, "")) for part in ("reason", "details"))
                if isinstance(inner, str) and inner:
                    return _line(inner)
    return _line(text.decode("utf-8", "replace"))


def _line(text: str) -> str:
    words = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "?" for letter in words)[:500]


def _authorities(path: Path) -> Path:
    """The file again, if certificates can be read there: later that would look like a failure of the server."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise UsageError(f"ca_file {path} holds no certificates") from error
    except OSError as error:
        raise UsageError(f"ca_file {path} cannot be read: {error.strerror}") from error
    return path


def _pool(url: str, settings: dict[str, Any]) -> urllib3.HTTPConnectionPool:
    """Connections to one server, through the proxy that the environment names for it."""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415  # slow to load

    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and parts.hostname and not proxy_bypass(parts.hostname):
        pool = urllib3.ProxyManager(proxy, **settings).connection_from_url(url)
    else:
        pool = urllib3.connectionpool.connection_from_url(url, **settings)
    watch(pool)
    return pool
