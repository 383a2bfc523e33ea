"""The box: a chunk of plaintext becomes one block, and the same chunk always the same block.

    K        = BLAKE3 keyed(chunk key, P), 64 bytes: tag ‖ K
    payload  = codec (0 stored, 1 zstd) ‖ length u32le ‖ data ‖ zeros up to the Padmé size
    nonce    = BLAKE3 keyed(nonce key, payload)[:12]
    block    = nonce ‖ AES-256-GCM(K, nonce, payload, AAD = "pinfold/1" ‖ generation u32le) ‖ tag

The key comes from the plaintext and the nonce from the exact bytes that are encrypted: another
compressor version gives another nonce, so no (key, nonce) ever meets two messages.
Source: docs/format.md, "Blocks"; Padmé: Nikitin et al., "Reducing metadata leakage", PoPETs 2019.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pinfold.errors import Corrupt, Malformed
from pinfold.seal.refs import MAX_BLOCK, MAX_PLAIN, Ref

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    from backports import zstd

if TYPE_CHECKING:
    from pinfold.seal.secret import Secret

FORMAT: Final = b"pinfold/1"
_OVERHEAD: Final = 12 + 16
_HEAD: Final = 5
_STORED: Final = 0
_ZSTD: Final = 1
# The largest Padmé size that still fits a block with its nonce and tag.
MAX_PAYLOAD: Final = 63 << 14
DEFAULT_LEVEL: Final = 3
_local = threading.local()


class Sealed(NamedTuple):
    """A chunk in its box."""

    ref: Ref
    block: bytes


class TooLarge(Exception):
    """The sealed chunk would not fit a block of 1 MiB; no error people see: the caller halves its bundle."""


class Sealer:
    """Seals the chunks of one generation.  What an agent holds; it has no way to open.

    Thread-safe.
    """

    def __init__(
        self, chunk_key: Secret, nonce_key: Secret, generation: int, *, padding: bool = True, level: int = DEFAULT_LEVEL
    ) -> None:
        """`chunk_key`, `nonce_key`: sub-keys of the generation; `level`: of zstd."""
        self._chunk_key = chunk_key.reveal()
        self._nonce_key = nonce_key.reveal()
        self._padding = padding
        self._level = level
        self.generation = generation

    def __repr__(self) -> str:
        return f"{type(self).__name__}(generation {self.generation})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key cannot be pickled")

    def name(self, plain: bytes | memoryview) -> tuple[bytes, bytes]:
        """The chunk's tag (for the local cache) and its key, 32 bytes each."""
        both = blake3(plain, key=self._chunk_key).digest(length=64)
        return both[:32], both[32:]

    def seal(self, plain: bytes | memoryview, key: bytes, *, check: bool = False) -> Sealed:
        """Seal a chunk under the key that `name` gave; with `check`, open it again and compare.

        Raises TooLarge.
        """
        payload = self._payload(plain)
        nonce = blake3(payload, key=self._nonce_key).digest(length=12)
        block = nonce + AESGCM(key).encrypt(nonce, payload, _associated(self.generation))
        sealed = Sealed(Ref.of(hashlib.sha256(block).digest(), key, len(plain), len(block)), block)
        if check and open_block(sealed.ref, block, self.generation) != plain:
            raise Corrupt(sealed.ref.cid, "memory: what was just sealed does not open to what went in")
        return sealed

    def _payload(self, plain: bytes | memoryview) -> bytes:
        data: bytes | memoryview = _compress(plain, self._level)
        codec = _ZSTD
        if len(data) >= len(plain):
            data, codec = plain, _STORED
        size = _HEAD + len(data)
        if size > MAX_PAYLOAD:
            raise TooLarge
        padded = padme(size) if self._padding else size
        return b"".join((bytes((codec,)), len(data).to_bytes(4, "little"), data, bytes(padded - size)))


class Opener(Sealer):
    """Opens as well: what an owner holds.  Opening needs the chunk's ref besides."""

    def open(self, ref: Ref, block: bytes) -> bytes:
        """The plaintext, compared with the ref's key.  Raises Corrupt or Malformed."""
        plain = open_block(ref, block, self.generation)
        if self.name(plain)[1] != ref.key:
            raise Corrupt(ref.cid, "its seal: the plaintext does not match its key")
        return plain


def open_block(ref: Ref, block: bytes, generation: int) -> bytes:
    """The plaintext of a block whose hash was checked.  Raises Corrupt or Malformed.

    Decompression never makes more than the ref's length.
    """
    if not _OVERHEAD + _HEAD <= len(block) <= MAX_BLOCK:
        raise Malformed("block", f"{len(block)} bytes are no sealed chunk")
    try:
        payload = AESGCM(ref.key).decrypt(block[:12], memoryview(block)[12:], _associated(generation))
    except InvalidTag as error:
        raise Corrupt(ref.cid, "its seal: it does not open with its key") from error
    codec, size = payload[0], int.from_bytes(payload[1:_HEAD], "little")
    if size > len(payload) - _HEAD:
        raise Malformed("block payload", f"length {size} is beyond its end", 1)
    if codec == _STORED:
        plain = payload[_HEAD : _HEAD + size]
    elif codec == _ZSTD:
        plain = _decompress(payload[_HEAD : _HEAD + size], ref.length)
    else:
        raise Malformed("block payload", f"codec {codec} is unknown", 0)
    if len(plain) != ref.length:
        raise Malformed("block payload", f"{len(plain)} bytes of plaintext, the ref says {ref.length}")
    return plain


def padme(size: int) -> int:
    """The Padmé size of `size` bytes: at most 12 % more, at most a 32nd from 64 KiB on."""
    if size < 2:
        return size
    exponent = size.bit_length() - 1
    low = exponent - exponent.bit_length()
    mask = (1 << low) - 1
    return (size + mask) & ~mask


def _associated(generation: int) -> bytes:
    return FORMAT + generation.to_bytes(4, "little")


def _compress(plain: bytes | memoryview, level: int) -> bytes:
    # A compressor per thread: making one anew costs 60 µs and a page fault storm for each chunk.
    held = getattr(_local, "compressor", None)
    if held is None or held[0] != level:
        held = _local.compressor = (level, zstd.ZstdCompressor(level))
    compressor: zstd.ZstdCompressor = held[1]
    compressor.set_pledged_input_size(len(plain))
    packed: bytes = compressor.compress(plain, zstd.ZstdCompressor.FLUSH_FRAME)
    return packed


def _decompress(data: bytes, length: int) -> bytes:
    if length > MAX_PLAIN:
        raise Malformed("block payload", f"plaintext of {length} bytes is out of bounds")
    try:
        unpacker = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 23})
        plain: bytes = unpacker.decompress(data, max_length=length + 1)
    except zstd.ZstdError as error:
        raise Malformed("block payload", f"not zstd: {error}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise Malformed("block payload", "zstd data is cut short, too long, or followed by more")
    return plain
