"""Bundles: near their target whatever the files' sizes, and a file more changes one of them."""

import pickle
from itertools import pairwise

import pytest

from pinfold.seal.box import MAX_PAYLOAD
from pinfold.seal.bundle import MOST, SMALL, TARGET, BundleCut
from pinfold.seal.secret import Secret

CUT = BundleCut(Secret(b"b" * 32))
Files = list[tuple[bytes, int]]


def bundles(files: Files, cut: BundleCut = CUT) -> list[tuple[tuple[bytes, ...], int]]:
    """Bundle files: their paths and their bytes together."""
    found, paths, size = [], [], 0
    for path, length in files:
        paths.append(path)
        size += length
        if cut.ends_after(path, length, size):
            found.append((tuple(paths), size))
            paths, size = [], 0
    return found


def files(count: int, size: int) -> Files:
    """Return files of about one size."""
    return [(b"folder/%d" % number, size + number % 7) for number in range(count)]


@pytest.mark.parametrize("size", [500, 4000, 30_000, 200_000, SMALL - 7])
def test_the_average(size: int) -> None:
    """Bundles have 0.6 to 1.1 of the target on average, and none is above the most."""
    found = [length for _, length in bundles(files(200 * TARGET // size, size))]
    assert 0.6 < sum(found) / len(found) / TARGET < 1.1
    assert max(found) <= MOST


def test_empty_files_end_bundles_too() -> None:
    """A million empty files are no endless bundle: one of them ends it every few thousand."""
    found = [len(paths) for paths, _ in bundles([(b"%d" % number, 0) for number in range(200_000)])]
    assert max(found) < 200_000
    assert 8_000 < sum(found) / len(found) < 33_000


def test_a_file_more_changes_one_bundle() -> None:
    """With one file put in or taken out, all bundles but the one it falls into, or two, are as they were."""
    before = files(20_000, 5000)
    old = set(bundles(before))
    for at in (0, 1, 9999, 19_999):
        new = set(bundles([*before[:at], (b"new", 5000), *before[at:]]))
        gone = set(bundles([*before[:at], *before[at + 1 :]]))
        assert max(len(new - old), len(gone - old)) <= 3


def test_another_secret_cuts_elsewhere() -> None:
    """Who does not know the secret cannot tell where bundles end."""
    many = files(20_000, 5000)
    ours, theirs = ({paths[-1] for paths, _ in bundles(many, cut)} for cut in (CUT, BundleCut(Secret(b"c" * 32))))
    assert len(ours & theirs) < len(ours) / 4


def test_sizes_fit_each_other() -> None:
    """A lone small file fits a block uncompressed, so a bundle can always be halved until it does."""
    sizes = [SMALL + 5, MAX_PAYLOAD, MOST]
    assert all(one < other for one, other in pairwise(sizes))


def test_a_cut_keeps_its_key() -> None:
    """It prints nothing and cannot be pickled."""
    assert "BundleCut(…)" == repr(CUT)
    with pytest.raises(TypeError):
        pickle.dumps(CUT)
