"""Cutting: nothing is lost, cuts depend on content and secret alone, and a change stays where it is."""

import pickle
from collections.abc import Callable
from io import BytesIO
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinfold.seal.chunker import MAX, MIN, TARGET, WINDOW, Gear
from pinfold.seal.secret import Secret

GEAR = Gear(Secret(b"g" * 32))
NOISE = Random(3).randbytes(24 << 20)


def cut(data: bytes, gear: Gear = GEAR, read: Callable[[int], bytes] | None = None) -> list[bytes]:
    """Cut some bytes."""
    return list(gear.cut(read or BytesIO(data).read))


@pytest.mark.parametrize(
    "size", [0, 1, MIN - 1, MIN, MIN + 1, TARGET, MAX, MAX + 1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + MAX]
)
def test_nothing_is_lost(size: int) -> None:
    """Chunks laid end to end are the input; all but the last have at least the minimum, none is above the maximum."""
    chunks = cut(NOISE[:size])
    assert NOISE[:size] == b"".join(chunks)
    assert all(MIN <= len(chunk) <= MAX for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= MAX for chunk in chunks[-1:])


def test_the_target_is_met() -> None:
    """On noise the average lies within a quarter of the target."""
    average = len(NOISE) / len(cut(NOISE))
    assert 0.75 < average / TARGET < 1.25


def test_what_has_no_edges() -> None:
    """Endless zeros are cut at one size, so that they are one block."""
    chunks = cut(bytes(3 * WINDOW))
    assert 1 == len(set(chunks[:-1]))
    assert bytes(3 * WINDOW) == b"".join(chunks)


@settings(max_examples=15)
@given(st.integers(0, 1 << 30), st.integers(1, 5 << 20), st.integers(0, 3 * WINDOW))
def test_reading_in_pieces_changes_nothing(seed: int, most: int, size: int) -> None:
    """However the bytes trickle in, the cuts are the same."""
    random, source = Random(seed), BytesIO(NOISE[:size])
    least = max(1, most // 100)
    assert cut(NOISE[:size]) == cut(b"", read=lambda n: source.read(min(n, random.randint(least, most))))


@settings(max_examples=15)
@given(st.integers(0, 12 << 20), st.binary(min_size=1, max_size=200), st.integers(0, 5000))
def test_a_change_stays_where_it_is(at: int, inserted: bytes, removed: int) -> None:
    """Bytes put in or taken out somewhere change the chunks there, and few."""
    data = NOISE[: 12 << 20]
    before, after = set(cut(data)), set(cut(data[:at] + inserted + data[at + removed :]))
    assert len(after - before) <= 5


def test_where_a_file_is_read_from_does_not_matter() -> None:
    """The tail of a file, read from one of its cuts, is cut as it was in the whole: a resumed run finds its blocks."""
    chunks = cut(NOISE)
    start = len(b"".join(chunks[:7]))
    assert chunks[7:] == cut(NOISE[start:])


def test_another_secret_cuts_elsewhere() -> None:
    """Who does not know the secret cannot tell where a known file is cut."""
    ours, theirs = (edges(cut(NOISE, gear)) for gear in (GEAR, Gear(Secret(b"h" * 32))))
    assert len(ours & theirs) <= 2
    assert ours == edges(cut(NOISE, Gear(Secret(b"g" * 32))))


def edges(chunks: list[bytes]) -> set[int]:
    """Return where chunks end."""
    found, at = set(), 0
    for chunk in chunks:
        at += len(chunk)
        found.add(at)
    return found


def test_the_permutation_is_one() -> None:
    """Each byte value becomes another, none twice, and each secret has its own table."""
    tables = {bytes(Gear(Secret(bytes([number]) * 32))._table) for number in range(50)}
    assert 50 == len(tables)
    assert all(sorted(table) == list(range(256)) for table in tables)


def test_errors_of_the_reader_pass_through() -> None:
    """What reading raises is raised, after the chunks before it were given."""
    parts = [NOISE[:WINDOW]]

    def read(_: int) -> bytes:
        if parts:
            return parts.pop()
        raise OSError("gone")

    given_chunks = []
    with pytest.raises(OSError, match="gone"):
        given_chunks += [len(chunk) for chunk in GEAR.cut(read)]
    assert not given_chunks
    source = GEAR.cut(BytesIO(NOISE).read)
    assert NOISE.startswith(next(source) + next(source))


def test_a_gear_keeps_its_table() -> None:
    """A gear prints nothing and cannot be pickled."""
    assert "Gear(…)" == repr(GEAR)
    with pytest.raises(TypeError):
        pickle.dumps(GEAR)
