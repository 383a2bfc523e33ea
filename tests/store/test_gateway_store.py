"""One gateway as a store: real ones give blocks, lying ones give nothing but their name."""

from __future__ import annotations

import re
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from engine import noise
from lab.liar import Answer, Liar
from lab.lies import (
    bomb,
    cut_short,
    drip,
    endless,
    endless_headers,
    huge_header,
    never,
    no_http,
    redirects,
    refuses,
    says,
)
from lab.lying import LyingGateway
from lab.process import free_port
from pinfold.errors import Corrupt, Missing, Refused, StoreError, Unavailable, UsageError
from pinfold.ipld.cid import CID, IDENTITY, RAW
from pinfold.seal.secret import Secret
from pinfold.store import Collects, Far, Heals, PinState, Usage
from pinfold.store.address import parse
from pinfold.store.gateway import GatewayStore, host
from pinfold.store.layers import NobodyListens, Unreachable
from pinfold.store.seam import Named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.kubo import Node
    from lab.liar import Request

    Lie = Callable[[Request], Answer]

BLOCK = noise(1, 100_000)
NAME = CID.of(RAW, BLOCK)
NOWHERE = CID.of(RAW, b"nobody has this")


def opened(*urls: str, options: str = "", **how: Secret) -> closing[GatewayStore]:
    """A store over these gateways."""
    return closing(GatewayStore(parse(f"gateway+{','.join(urls)}{options}"), **how))


@pytest.fixture
def holder(shared_node: Node) -> Node:
    """A Kubo that holds the block."""
    shared_node.run("block", "put", "--cid-codec=raw", input=BLOCK)
    return shared_node


@pytest.fixture
def liar() -> Iterator[LyingGateway]:
    """A gateway that sends other bytes for every block."""
    with LyingGateway() as server:
        yield server


@pytest.fixture
def small_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second instead of forty for what never comes."""
    monkeypatch.setattr(host, "SILENCE", 1.0)
    monkeypatch.setattr(host, "LONGEST", 2.0)
    monkeypatch.setattr(host, "_DRIP_SECONDS", 0.5)


def test_a_real_gateway_gives_blocks(holder: Node) -> None:
    """Kubo's gateway gives the block, and nothing is warned of."""
    with opened(holder.gateway) as store:
        assert BLOCK == store.get(NAME)
        assert [] == store.warnings


def test_what_is_not_there(holder: Node) -> None:
    """What a gateway answers 404 for is Missing, by the name of the block."""
    with opened(holder.gateway) as store, pytest.raises(Missing, match=str(NOWHERE)):
        store.get(NOWHERE)


def test_presence_is_asked_without_fetching(holder: Node) -> None:
    """`has` tells what is held from what is not, many at once, and takes no bodies."""
    absent = [CID.of(RAW, noise(seed, 10)) for seed in range(300)]
    with opened(holder.gateway) as store:
        assert {NAME} == store.has([*absent, NAME])


def test_presence_is_asked_so_that_the_gateway_does_not_look_elsewhere(liar: LyingGateway) -> None:
    """A question for presence is a HEAD with only-if-cached; 412 means no."""
    liar.lie("HEAD", says(b"", status=412))
    with opened(liar.url) as store:
        assert set() == store.has([NAME])
    assert [("HEAD", "only-if-cached")] == [(one.method, one.headers.get("Cache-Control")) for one in liar.requests]


@pytest.mark.parametrize("status", [400, 405, 501])
def test_a_gateway_without_head_is_asked_by_get(liar: LyingGateway, status: int) -> None:
    """Where HEAD is not spoken, the block itself is fetched, and checked."""
    liar.lie("HEAD", says(b"", status=status))
    liar.lie(f"GET /ipfs/{NAME}", says(BLOCK))
    liar.lie(f"GET /ipfs/{NOWHERE}", says(b"", status=404))
    with opened(liar.url) as store:
        assert {NAME} == store.has([NAME, NOWHERE])


def test_an_identity_needs_no_gateway() -> None:
    """A block inside its own CID is there and given, with nobody to ask."""
    cid = CID(1, RAW, IDENTITY, b"tiny")
    with opened("http://127.0.0.1:9") as store:
        assert (b"tiny", {cid}) == (store.get(cid), store.has([cid]))


LIES = {
    "other bytes": says(b"other bytes"),
    "no bytes": says(b""),
    "a byte too many": says(BLOCK + b"!"),
    "bytes without end": endless(),
    "a promise of a terabyte": cut_short(b"", promised=1 << 40),
    "a bomb": bomb(64 << 20),
    "a page": says(b"<html>please log in</html>", headers={"Content-Type": "text/html"}),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_is_named_and_the_liar_not_asked_again(liar: LyingGateway, lie: Lie) -> None:
    """What hashes to another name is Corrupt with the gateway named, at once, and its last answer."""
    liar.lie("/ipfs/", lie)
    with opened(liar.url) as store:
        for cid in (NAME, NOWHERE):
            with pytest.raises(Corrupt, match=re.escape(liar.url)):
                store.get(cid)
        assert 1 == len(liar.asked)
        assert [True] == [liar.url in line for line in store.warnings]
    assert liar.sent < 8 << 20


FAILURES = {
    "no answer": never(),
    "no HTTP": no_http(),
    "an answer cut short": cut_short(BLOCK[:1000], promised=len(BLOCK)),
    "a drip": drip(BLOCK, seconds=0.02, size=1),
    "headers without end": endless_headers(),
    "a huge header": huge_header(),
    "an error": refuses(500),
    "a bad gateway": refuses(502),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.usefixtures("small_patience")
def test_a_failure_ends_in_time_and_may_be_tried_again(liar: LyingGateway, failure: Lie) -> None:
    """What gives no whole answer is Unavailable within seconds, and the gateway is asked again the next time."""
    liar.lie("/ipfs/", failure)
    began = time.monotonic()
    with opened(liar.url) as store:
        with pytest.raises(Unavailable, match=re.escape("127.0.0.1")):
            store.get(NAME)
        liar.lie("/ipfs/", says(BLOCK))
        assert BLOCK == store.get(NAME)
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("small_patience")
def test_headers_that_drip_end_in_time(liar: LyingGateway) -> None:
    """A head that comes a byte at a time holds nobody for longer than an answer may take."""
    liar.lie("/ipfs/", _raw_drip)
    began = time.monotonic()
    with opened(liar.url) as store, pytest.raises(Unavailable):
        store.get(NAME)
    assert time.monotonic() - began < 10


def _raw_drip(request: Request) -> Answer:
    def parts() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nX-Slow: "
        while not request.closing.wait(0.05):
            yield b"a"

    return Answer(200, {}, parts(), raw=True)


@pytest.mark.parametrize("status", [404, 410, 504])
def test_the_ways_of_not_having_a_block(liar: LyingGateway, status: int) -> None:
    """Not found, gone, and not found in time are the same: Missing."""
    liar.lie(f"/ipfs/{NAME}", says(b"no", status=status))
    with opened(liar.url) as store, pytest.raises(Missing):
        store.get(NAME)


def test_what_lasts_is_not_tried_again() -> None:
    """A name that nobody knows, and a port where nobody listens, are told as what they are: nothing passing."""
    with opened("http://nosuch.invalid") as store, pytest.raises(Unreachable):
        store.get(NAME)
    with opened(f"http://127.0.0.1:{free_port()}") as store, pytest.raises(NobodyListens):
        store.get(NAME)


def test_the_port_of_the_rpc(holder: Node, liar: LyingGateway) -> None:
    """What answers 404 to everything, the empty block too, is told to be no gateway; others are asked all the same."""
    with opened(holder.api) as store, pytest.raises(Refused, match="is it a gateway"):
        store.get(NAME)
    with opened(holder.api, holder.gateway) as store:
        assert BLOCK == store.get(NAME)
        with pytest.raises(Missing):
            store.get(NOWHERE)
    liar.lie("/ipfs/", says(b"no", status=405))
    with opened(liar.url) as store, pytest.raises(Refused, match="is it a gateway"):
        store.get(NAME)


@pytest.mark.parametrize("status", [400, 401, 403, 406, 418])
def test_the_ways_of_refusing(liar: LyingGateway, status: int) -> None:
    """A refusal is Refused, with the status and what to look at."""
    liar.lie("/ipfs/", says(b"no", status=status))
    with opened(liar.url) as store, pytest.raises(Refused, match=str(status)):
        store.get(NAME)


def test_a_busy_gateway_is_left_alone_for_as_long_as_it_asks(liar: LyingGateway) -> None:
    """After 429 with Retry-After the next request comes when that time is over, and not before."""
    liar.lie("/ipfs/", says(b"", status=429, headers={"Retry-After": "1"}))
    with opened(liar.url) as store:
        with pytest.raises(Unavailable, match="too busy"):
            store.get(NAME)
        liar.lie("/ipfs/", says(BLOCK))
        began = time.monotonic()
        assert BLOCK == store.get(NAME)
        assert time.monotonic() - began > 0.5


def test_a_wrong_content_type_is_no_matter(liar: LyingGateway) -> None:
    """The right bytes are right, whatever they are called."""
    liar.lie("/ipfs/", says(BLOCK, headers={"Content-Type": "text/html", "Etag": "lies"}))
    with opened(liar.url) as store:
        assert BLOCK == store.get(NAME)


def test_redirects_are_followed_twice_and_no_further(liar: LyingGateway) -> None:
    """Two redirects on the same host lead to the block; a circle is refused."""
    with Liar() as other:
        liar.lie("GET /ipfs/", redirects(f"{other.url}/once{{target}}"))
        other.lie("GET /once/", redirects(f"{liar.url}/twice?a=b%26c", status=307))
        liar.lie("GET /twice", says(BLOCK))
        with opened(liar.url) as store:
            assert BLOCK == store.get(NAME)
        assert ["/twice?a=b%26c"] == [one.target for one in liar.requests[1:]]
        liar.lie("GET /", redirects("/ipfs/again"))
        with opened(liar.url) as store, pytest.raises(Refused, match="redirects more than 2 times"):
            store.get(NAME)


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/ipfs/x",
        "http://[fe80::1]/ipfs/x",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:1/ipfs/x",
        "http://user:word@127.0.0.1/ipfs/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://[half/ipfs/x",
        "",
    ],
)
def test_redirects_lead_nowhere_private(liar: LyingGateway, location: str) -> None:
    """A redirect to a private address of another host, or to no web address at all, is refused."""
    liar.lie("GET /ipfs/", redirects(location))
    with opened(liar.url) as store, pytest.raises(Refused, match="redirects to"):
        store.get(NAME)


def test_no_redirect_leaves_tls(liar: LyingGateway) -> None:
    """From https there is no way to http, not even on the same host; to https there is."""
    with closing(host.Host("https://127.0.0.1:1", authorization=None, ca_file=None, connections=1)) as made:
        with pytest.raises(Refused, match="from https to http"):
            made._followed(made._client, "/ipfs/x", f"{liar.url}/ipfs/x")
        client, path, query = made._followed(made._client, "/ipfs/x", "/other%20way?format=raw")
        assert (made._client, "/other way", [("format", "raw")]) == (client, path, query)


def test_redirects_lead_to_few_servers(liar: LyingGateway) -> None:
    """A gateway that redirects to ever other servers is refused before it costs much."""
    with closing(host.Host(liar.url, authorization=None, ca_file=None, connections=1)) as made:
        for port in range(1, 17):
            made._followed(made._client, "/ipfs/x", f"http://127.0.0.1:{port}/ipfs/x")
        with pytest.raises(Refused, match="too many servers"):
            made._followed(made._client, "/ipfs/x", "http://127.0.0.1:17/ipfs/x")


def test_a_token_goes_to_its_gateway_and_nowhere_else(liar: LyingGateway) -> None:
    """The gateway is sent the token; who it redirects to is not."""
    with Liar() as other:
        liar.lie("GET /ipfs/", redirects(f"{other.url}{{target}}"))
        other.lie("GET /ipfs/", says(BLOCK))
        with opened(liar.url, authorization=Secret(b"Bearer hush")) as store:
            assert BLOCK == store.get(NAME)
        sent = [one.headers.get("Authorization") for server in (liar, other) for one in server.requests]
        assert ["Bearer hush", None] == sent


def test_it_can_be_read_and_nothing_else() -> None:
    """Writing is refused in a line that says what this is; pins, status and usage know nothing."""
    with opened("http://127.0.0.1:9") as store:
        for write in (lambda: store.put([]), lambda: store.pin(NAME, "x"), lambda: store.unpin([NAME])):
            with pytest.raises(Refused, match="is a gateway"):
                write()
        with store.session():
            assert [] == list(store.pins())
        assert [PinState.ABSENT] == [copy.state for copy in store.status(NAME).copies]
        assert Usage(0) == store.usage()
        powers = (Far, Named, Collects, Heals)
        assert [True, True, False, False] == [isinstance(store, power) for power in powers]
        assert store.at_once >= 64


def test_roots_are_told_in_the_address() -> None:
    """`root=` names the snapshots that are asked about; what is no CID is a mistake of the caller."""
    with opened("http://127.0.0.1:9", options=f"?root={NAME},{NOWHERE}") as store:
        assert (NAME, NOWHERE) == store.roots
    with pytest.raises(UsageError, match="root=nonsense is no CID"):
        opened("http://127.0.0.1:9", options="?root=nonsense")


def test_nothing_is_given_after_the_end(liar: LyingGateway) -> None:
    """Whoever asks a closed store gets an error, and does not wait."""
    with opened(liar.url) as store:
        pass
    with pytest.raises(StoreError):
        store.get(NAME)
