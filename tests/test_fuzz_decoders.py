"""Whatever bytes a decoder is given, it reads them or raises what it is documented to, soon and in little memory."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from backports import zstd
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

import pinfold.ipld
import pinfold.seal
from fuzzing import MEMORY, bent, bounded, decoders, graph_car
from pinfold import config, snapshot
from pinfold.errors import ConfigError, Malformed, PinfoldError
from pinfold.ipld import CID, dagcbor, dagpb, hamt, unixfs
from pinfold.seal.box import MAX_PLAIN, open_block
from pinfold.seal.refs import Ref
from pinfold.sources.directory import index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

NAMES = sorted(decoders())
SETTINGS = b"""
repository = "/srv/backups"
min_copies = 1
[keep]
daily = 7
within = "3d"
[sources.web]
path = "/srv"
exclude = ["*.tmp"]
interval = "24h"
"""
READS = re.compile(r"(decode|parse|load|read)(_\w+)?")


def modules() -> Iterator[ModuleType]:
    """The rooms whose whole work is formats."""
    for room in (pinfold.ipld, pinfold.seal):
        for found in pkgutil.iter_modules(room.__path__, room.__name__ + "."):
            yield importlib.import_module(found.name)
    yield from (snapshot, index)


def readers(module: ModuleType) -> Iterator[str]:
    """What a module has in public that is called decode, parse, load or read, by itself or in a class."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(thing) and READS.fullmatch(name):
            yield f"{module.__name__}.{name}"
        elif inspect.isclass(thing) and not getattr(thing, "_is_protocol", False):
            for inner in vars(thing):
                if READS.fullmatch(inner):
                    yield f"{module.__name__}.{name}.{inner}"


def test_no_decoder_is_forgotten() -> None:
    """Whatever is called decode, parse, load or read in the rooms of formats is fuzzed here."""
    there = {name.removeprefix("pinfold.") for module in modules() for name in readers(module)}
    assert len(there) > 20
    assert set() == there - decoders().keys()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_valid_is_read(name: str) -> None:
    """The examples that are bent below are read, at least one of them without an error."""
    decoder = decoders()[name]
    refused = 0
    for data in decoder.valid:
        decoder.attempt(data)
        try:
            decoder.read(data)
        except decoder.errors:
            refused += 1
    assert refused < len(decoder.valid)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150)
@given(data=st.data())
def test_bent_bytes(name: str, data: st.DataObject) -> None:
    """A few bytes changed in what is valid: read, or refused by a documented error."""
    decoder = decoders()[name]
    decoder.attempt(data.draw(bent(decoder.valid)))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=100)
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    """Any bytes: read, or refused by a documented error."""
    decoders()[name].attempt(data)


BOMBS = {
    "deep lists": b"\x81" * 1_000_000,
    "deep maps": b"\xa1\x61a" * 300_000,
    "deep JSON": b"[" * 1_000_000,
    "deep JSON objects": b'{"a":' * 150_000,
    "long numbers": b'{"a":' + b"9" * 1_000_000 + b"}",
    "a large exponent": b'{"a":1e999999999}',
    "a list of 2^64": b"\x9b" + b"\xff" * 8,
    "a map of 2^64": b"\xbb" + b"\xff" * 8,
    "bytes of 2^63": b"\x5b\x7f" + b"\xff" * 7,
    "a length of 2^62": b"\x12" + b"\xff" * 8 + b"\x3f",
    "many empty links": b"\x12\x00" * 50_000,
    "many block sizes": b"\x08\x02" + b"\x20\x00" * 50_000,
    "packed block sizes": b"\x08\x02\x22\x80\x80\x40" + bytes(1 << 18),
    "many roots": b"\xa2\x65roots\x9a\xff\xff\xff\xff" + b"\xd8\x2a\x45\x00\x01\x55\x00\x00" * 5_000,
    "a header of 2^62": b"\xff" * 8 + b"\x3f",
    "a far away CARv2": bytes.fromhex("0aa16776657273696f6e02") + bytes(16) + b"\xff" * 7 + b"\x7f" + b"\xff" * 16,
    "many lines": b"PINFOLD_A=1\n" * 20_000,
    "many quotes": b"PINFOLD_A=" + b'"\\' * 50_000,
    "much space": b"PINFOLD_A=x" + b" " * 800_000 + b"y",
    "zeros": bytes(1 << 18),
    "ones": b"\xff" * (1 << 18),
    "digits": b"z" + b"1" * 1_000_000,
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("name", NAMES)
def test_small_bombs(name: str, bomb: str) -> None:
    """What promises to become large, or is nested deep, takes neither a second nor 64 MB."""
    decoders()[name].attempt(BOMBS[bomb])


@pytest.mark.parametrize("length", [0, 1000, MAX_PLAIN])
def test_a_block_that_unpacks_to_a_terabyte(length: int) -> None:
    """A sealed block is unpacked up to the length that its ref names, and no further."""
    key, nonce = bytes(32), bytes(12)
    packed = zstd.compress(bytes(16 << 20), 19)
    payload = b"\1" + struct.pack("<I", len(packed)) + packed
    block = nonce + AESGCM(key).encrypt(nonce, payload, b"pinfold/1" + bytes(4))
    with bounded(), pytest.raises(PinfoldError):
        open_block(Ref.of(bytes(32), key, length, len(block)), block, 0)


def test_a_file_of_files_of_nothing() -> None:
    """Nodes that refer to one another a hundred times, sixty levels deep, are read at once."""
    blocks: dict[CID, bytes] = {}
    below = CID.of(0x55, b"")
    blocks[below] = b""
    for _ in range(60):
        message = unixfs.Data(unixfs.Kind.FILE, filesize=0, blocksizes=(0,) * 100)
        block = dagpb.encode(dagpb.Node((dagpb.Link(below, b"", 0),) * 100, unixfs.encode(message)))
        below = CID.of(0x70, block)
        blocks[below] = block
    data = graph_car(below, blocks)
    for name in ("ipld.files.read_file", "ipld.walk.walk", "snapshot.read_small", "snapshot.load"):
        decoders()[name].attempt(data)


def test_a_folder_of_folders_of_nothing() -> None:
    """Shards that refer to one another from every bucket are refused at once."""
    blocks: dict[CID, bytes] = {}
    below = CID.of(0x55, b"")
    for _ in range(10):
        message = unixfs.Data(unixfs.Kind.SHARD, data=b"\xff" * 32, hash_type=unixfs.MURMUR3, fanout=256)
        links = tuple(dagpb.Link(below, prefix, 0) for prefix in hamt.layout(256).prefixes)
        block = dagpb.encode(dagpb.Node(links, unixfs.encode(message)))
        below = CID.of(0x70, block)
        blocks[below] = block
    data = graph_car(below, blocks)
    for name in ("ipld.folders.list_folder", "ipld.folders.lookup", "ipld.walk.walk", "snapshot.load_keyring"):
        decoders()[name].attempt(data)


@settings(max_examples=150)
@given(
    data=st.one_of(
        st.binary(max_size=200),
        bent((SETTINGS,)),
        st.sampled_from([b"a = " + b"[" * 100_000, b"a." * 2000 + b"b = 1", b"a = " + b"{b = " * 50_000]),
    )
)
def test_any_settings(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """A pinfold.toml or .env of any bytes gives settings, or one list of mistakes."""
    for name in ("pinfold.toml", ".env"):
        place: Path = tmp_path_factory.mktemp("settings")
        (place / name).write_bytes(data)
        with bounded(), suppress(ConfigError):
            config.load({}, {"HOME": str(place)}, place)


def test_the_bounds_bite() -> None:
    """What takes too long or too much is found by the measure that all tests here rely on."""
    with pytest.raises(AssertionError), bounded():
        bytearray(MEMORY + 1)
    with pytest.raises(Malformed), bounded():
        dagcbor.decode(b"", "x")
