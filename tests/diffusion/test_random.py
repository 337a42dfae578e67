"""Random numbers by row: what they depend on, and that they look uniform and independent."""

import pytest
import torch
from scipy.stats import chi2

from moldiff.diffusion.random import RowRandom, Stream

ROWS = torch.arange(1000)


def reference(words: list[int]) -> int:
    """The same hash in Python's integers."""
    mask = (1 << 64) - 1

    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    golden, key = 0x9E3779B97F4A7C15, words[0] & mask
    for word in words[1:]:
        key = mix(((key + golden) & mask) ^ mix((word + golden) & mask))
    return key


@pytest.mark.parametrize("seed", [0, 7, 2**63 + 5, -1])
def test_bits_are_the_hash_of_all_five_words(seed: int) -> None:
    rows = torch.tensor([0, 3, 2**40])
    bits = RowRandom(seed).bits(rows, 11, 4, Stream.TIME)
    for i, row in enumerate(rows.tolist()):
        for position in range(4):
            want = reference([seed, row, int(Stream.TIME), 11, position])
            assert int(bits[i, position]) & ((1 << 64) - 1) == want


def test_a_row_does_not_depend_on_its_company() -> None:
    random = RowRandom(3)
    whole = random.uniform(ROWS, 5, 6, Stream.EVENT)
    some = torch.tensor([17, 3, 999])
    assert random.uniform(some, 5, 6, Stream.EVENT).equal(whole[some])
    assert random.uniform(ROWS, 5, 4, Stream.EVENT).equal(whole[:, :4])
    assert RowRandom(3).uniform(ROWS, 5, 6, Stream.EVENT).equal(whole)


def test_rows_may_be_at_different_steps() -> None:
    random, steps = RowRandom(3), ROWS % 7
    mixed = random.uniform(ROWS, steps, 6, Stream.EVENT)
    for step in range(7):
        at = steps == step
        assert mixed[at].equal(random.uniform(ROWS[at], step, 6, Stream.EVENT))


def test_seed_row_step_position_and_stream_all_matter() -> None:
    a = RowRandom(0).uniform(ROWS, 0, 8, Stream.EVENT)
    others = [
        RowRandom(1).uniform(ROWS, 0, 8, Stream.EVENT),
        RowRandom(0).uniform(ROWS + 1000, 0, 8, Stream.EVENT),
        RowRandom(0).uniform(ROWS, 1, 8, Stream.EVENT),
        a.roll(1, 1),
        *(RowRandom(0).uniform(ROWS, 0, 8, s) for s in Stream if s != Stream.EVENT),
    ]
    for b in others:
        assert not (a == b).any()
        correlation = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        assert abs(float(correlation)) < 4 / a.numel() ** 0.5


def test_numbers_are_in_range_and_evenly_spread() -> None:
    u = RowRandom(9).uniform(ROWS, 2, 64, Stream.TOKEN)
    assert u.dtype == torch.float64
    assert u.min() >= 0
    assert u.max() < 1
    for view in (u, u.T.contiguous(), (u * 2**20).frac()):
        counts = torch.bincount((view.flatten() * 64).long(), minlength=64).double()
        wanted = u.numel() / 64
        assert chi2.sf(float(((counts - wanted) ** 2 / wanted).sum()), 63) > 1e-3


def test_the_smallest_of_many_goes_below_single_precision() -> None:
    # 24 bits would floor at 6e-8 and repeat; 53 bits do neither.
    u = RowRandom(4).uniform(torch.arange(200_000), 0, 10, Stream.TOKEN).flatten()
    assert u.unique().numel() == u.numel()
    assert 0 < u.min() < 5 / u.numel()


def test_streams_have_distinct_numbers() -> None:
    assert len({int(s) for s in Stream}) == len(Stream)


def test_any_integer_is_a_seed() -> None:
    a = RowRandom(-1).bits(ROWS, 0, 1, Stream.EVENT)
    assert a.equal(RowRandom(2**64 - 1).bits(ROWS, 0, 1, Stream.EVENT))
    assert not a.equal(RowRandom(1).bits(ROWS, 0, 1, Stream.EVENT))
