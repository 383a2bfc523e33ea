"""The box: the same chunk is always the same block, only its own key opens it, and hostile blocks cost little."""

import hashlib
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from random import Random

import pytest
from backports import zstd
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from pinfold.errors import Corrupt, Malformed
from pinfold.seal.box import FORMAT, MAX_PAYLOAD, Opener, Sealed, TooLarge, open_block, padme
from pinfold.seal.refs import MAX_BLOCK, MAX_PLAIN, Ref
from seal.made import opener

BOX = opener()
KEY = b"k" * 32
DOCUMENTED = (Corrupt, Malformed)
NOISE = Random(5).randbytes(MAX_BLOCK + 100)
plaintexts = st.binary(max_size=400) | st.builds(
    lambda part, times: part * times, st.binary(max_size=9), st.integers(0, 999)
)


def sealed(plain: bytes, box: Opener = BOX) -> Sealed:
    """Seal a chunk under its own key."""
    return box.seal(plain, box.name(plain)[1])


def boxed(payload: bytes, length: int, generation: int = 0) -> tuple[Ref, bytes]:
    """Seal a payload as it is, as a hostile agent may, under a ref that says `length`."""
    nonce = b"n" * 12
    block = nonce + AESGCM(KEY).encrypt(nonce, payload, FORMAT + generation.to_bytes(4, "little"))
    return Ref.of(hashlib.sha256(block).digest(), KEY, length, min(len(block), MAX_BLOCK)), block


@given(plaintexts, st.booleans())
def test_what_goes_in_comes_out(plain: bytes, padding: bool) -> None:
    """A sealed chunk opens to itself; its ref tells its lengths and its block's hash."""
    box = opener(padding=padding)
    ref, block = sealed(plain, box)
    assert plain == box.open(ref, block)
    assert (len(plain), len(block), hashlib.sha256(block).digest()) == (ref.length, ref.size, ref.digest)
    assert (ref, block) == box.seal(memoryview(plain), ref.key, check=True)


@given(plaintexts)
def test_the_same_chunk_is_the_same_block(plain: bytes) -> None:
    """Another sealer with the same keys, another thread, and whatever was sealed before change nothing."""
    expected = sealed(plain)
    sealed(plain[::-1] + b"other", opener(7))
    with ThreadPoolExecutor(1) as pool:
        assert [expected, expected] == [sealed(plain, opener()), pool.submit(sealed, plain).result()]


def test_equal_plaintexts_of_strangers_share_nothing() -> None:
    """Under other secrets or in another generation, key, nonce and bytes differ."""
    plain = b"the same words" * 50
    boxes = [sealed(plain, box) for box in (opener(1), opener(2), opener(1, 1))]
    assert 3 == len({block[28:] for _, block in boxes})
    assert 2 == len({ref.key for ref, _ in boxes})
    assert not any(plain[:14] in block for _, block in boxes)


def test_another_compressor_has_another_nonce() -> None:
    """Two payloads of one chunk, as two levels of zstd make them, never meet under one nonce."""
    plain = b"".join(b"%d apples, %d pears; " % (number, number * number) for number in range(3000))
    blocks = {sealed(plain, opener(level=level)).block for level in (1, 3, 9, 19)}
    assert len(blocks) == len({block[:12] for block in blocks}) > 1


@given(plaintexts, st.data())
def test_changed_blocks_do_not_open(plain: bytes, data: st.DataObject) -> None:
    """One bit changed anywhere, bytes lost or added: a documented error, and no plaintext."""
    ref, block = sealed(plain)
    at = data.draw(st.integers(0, len(block) - 1))
    flipped = block[:at] + bytes([block[at] ^ (1 << data.draw(st.integers(0, 7)))]) + block[at + 1 :]
    for changed in (flipped, block[:at], block + b"\0", b""):
        with pytest.raises(DOCUMENTED):
            BOX.open(ref, changed)


@given(plaintexts, st.integers(0, 71), st.integers(0, 7))
def test_changed_refs_do_not_open(plain: bytes, at: int, bit: int) -> None:
    """A ref with one bit changed opens nothing, but for bits of the hash and the block's size, which others check."""
    ref, block = sealed(plain)
    packed = bytearray(ref.packed)
    packed[at] ^= 1 << bit
    try:
        changed = Ref(bytes(packed))
        found = BOX.open(changed, block)
    except DOCUMENTED:
        assert 32 <= at
    else:
        assert plain == found
        assert at < 32 or at >= 68


@given(plaintexts)
def test_others_do_not_open(plain: bytes) -> None:
    """Another generation's opener, and one that does not know the plaintext's secret, refuse."""
    ref, block = sealed(plain)
    for other in (opener(1, 1), opener(2)):
        with pytest.raises(Corrupt, match="its seal"):
            other.open(ref, block)


def test_what_just_fits() -> None:
    """A chunk may fill a block to the last byte of its largest Padmé size; one byte more is too large."""
    most = MAX_PAYLOAD - 5
    ref, block = sealed(NOISE[:most])
    assert (NOISE[:most], MAX_PAYLOAD + 28) == (BOX.open(ref, block), len(block))
    assert len(block) <= MAX_BLOCK < padme(MAX_PAYLOAD + 1) + 28
    with pytest.raises(TooLarge):
        sealed(NOISE[: most + 1])


@given(st.integers(0, 1 << 40))
def test_padme(size: int) -> None:
    """A Padmé size is at most 12 % above, a 32nd from 64 KiB on, and its own Padmé size."""
    padded = padme(size)
    assert size <= padded <= size + (size // 32 if size >= 1 << 16 else size * 12 // 100)
    assert padded == padme(padded)


def test_padme_rises() -> None:
    """Larger sizes never pad to smaller ones, and few sizes are left of many."""
    sizes = [padme(size) for size in range(1 << 16)]
    assert all(one <= other for one, other in pairwise(sizes))
    assert len(set(sizes)) < 300


@given(plaintexts)
def test_blocks_have_padme_sizes(plain: bytes) -> None:
    """With padding the payload has a Padmé size; without, blocks are no larger."""
    padded, bare = len(sealed(plain).block), len(sealed(plain, opener(padding=False)).block)
    assert padme(bare - 28) == padded - 28


@given(st.binary(max_size=80), st.integers(0, 100))
def test_any_payload(payload: bytes, length: int) -> None:
    """Whatever a hostile agent seals, what opens is as long as its ref says, or it is a documented error."""
    ref, block = boxed(payload, length)
    try:
        found = open_block(ref, block, 0)
    except DOCUMENTED:
        return
    assert length == len(found)


@given(plaintexts, st.integers(-3, 3), st.binary(max_size=3))
def test_any_frame(plain: bytes, lie: int, tail: bytes) -> None:
    """A true frame under a ref that lies by a byte, or with something behind it, is refused."""
    frame = zstd.compress(plain) + tail
    ref, block = boxed(b"\x01" + len(frame).to_bytes(4, "little") + frame, max(0, len(plain) + lie))
    if tail or ref.length != len(plain):
        with pytest.raises(Malformed):
            open_block(ref, block, 0)
    else:
        assert plain == open_block(ref, block, 0)


def bomb(size: int, options: dict[int, int] | None = None) -> bytes:
    """Return a frame of `size` zeros, made without holding them."""
    packer = zstd.ZstdCompressor(options=options or {zstd.CompressionParameter.compression_level: 3})
    parts = [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join((*parts, packer.flush()))


@pytest.mark.parametrize("length", [0, 1, 1000, 1 << 20, MAX_PLAIN])
def test_a_bomb_bursts_within_bounds(length: int) -> None:
    """A block that unpacks to 512 MiB is refused after its ref's length, in that much memory."""
    frame = bomb(512 << 20)
    ref, block = boxed(b"\x01" + len(frame).to_bytes(4, "little") + frame, length)
    tracemalloc.start()
    with pytest.raises(Malformed, match="cut short, too long"):
        open_block(ref, block, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * length + 2 * len(block) + (64 << 10)


def test_a_bomb_in_a_bomb() -> None:
    """What unpacks to another frame stays that frame: one layer is unpacked and no more."""
    inner = bomb(64 << 20)
    frame = zstd.compress(inner)
    ref, block = boxed(b"\x01" + len(frame).to_bytes(4, "little") + frame, len(inner))
    assert inner == open_block(ref, block, 0)


def test_a_wide_window_is_refused() -> None:
    """A frame that wants 128 MiB of memory for its window is refused before it gets it."""
    frame = bomb(8 << 20, {zstd.CompressionParameter.window_log: 27})
    ref, block = boxed(b"\x01" + len(frame).to_bytes(4, "little") + frame, 8 << 19)
    with pytest.raises(Malformed, match="not zstd"):
        open_block(ref, block, 0)


def test_empty_frames_are_refused() -> None:
    """A thousand empty frames before a true one do not make it open."""
    frame = zstd.compress(b"") * 1000 + zstd.compress(b"x")
    ref, block = boxed(b"\x01" + len(frame).to_bytes(4, "little") + frame, 1)
    with pytest.raises(Malformed):
        open_block(ref, block, 0)


@pytest.mark.parametrize("size", [0, 32, MAX_BLOCK + 1])
def test_blocks_of_impossible_sizes(size: int) -> None:
    """What is too short or too long for a block is refused unopened."""
    with pytest.raises(Malformed, match=f"{size} bytes are no sealed chunk"):
        open_block(boxed(bytes(9), 1)[0], bytes(size), 0)


def test_check_finds_what_memory_did() -> None:
    """With `check`, a chunk that was changed between naming and sealing does not pass unseen by its opener."""
    ref, block = BOX.seal(b"changed", BOX.name(b"true")[1], check=True)
    with pytest.raises(Corrupt, match="does not match its key"):
        BOX.open(ref, block)


def test_sealers_keep_their_keys() -> None:
    """A sealer prints its generation only and cannot be pickled."""
    assert "Opener(generation 0)" == repr(BOX)
    with pytest.raises(TypeError):
        pickle.dumps(BOX)
