"""Draws by inverse CDF, the nucleus, temperature and logarithms, at their edges."""

import math

import pytest
import torch
from scipy.stats import chi2

from moldiff.diffusion.categorical import draw, normalise, nucleus, one_hot, safe_log, temper
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.errors import MoldiffError

LARGEST = 1 - 2**-53


def logs(*p: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return safe_log(torch.tensor(p, dtype=dtype))


def kept(log_p: torch.Tensor) -> list[int]:
    return (log_p > -math.inf).nonzero().squeeze(-1).tolist()


def test_safe_log_of_zero_is_minus_infinity_and_has_no_nan_slope() -> None:
    p = torch.tensor([0.0, 1.0, 0.5], requires_grad=True)
    out = safe_log(p)
    assert out.tolist() == pytest.approx([-math.inf, 0.0, math.log(0.5)])
    out[1:].sum().backward()
    assert p.grad is not None
    assert p.grad.tolist() == [0.0, 1.0, 2.0]


def test_draw_follows_a_skewed_law_with_rare_tokens() -> None:
    # One uniform a stratum: each count is then exact to one, tails of 1e-5 included.
    p = torch.tensor([0.5, 1e-5, 0.3, 0.0, 0.19998, 1e-5], dtype=torch.float64)
    n = 1_000_000
    uniform = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    tokens = draw(p.log().expand(n, 6), uniform)
    assert (torch.bincount(tokens, minlength=6) - p * n).abs().max() <= 1


def test_draw_keeps_tails_far_below_single_precision() -> None:
    # The boundary of a tail of 1e-9 falls between two uniforms of 53 bits, not of 24.
    log_p = logs(1 - 1e-9, 1e-9)
    uniform = torch.tensor([1 - 1.5e-9, 1 - 0.5e-9], dtype=torch.float64)
    assert draw(log_p.expand(2, 2), uniform).tolist() == [0, 1]
    assert draw(log_p.float().expand(2, 2), uniform).tolist() == [0, 1]


def test_draw_with_random_uniforms_passes_a_chi_square() -> None:
    p = torch.tensor([0.6, 0.3, 0.09, 0.009, 0.001], dtype=torch.float64)
    uniform = RowRandom(2).uniform(torch.arange(20_000), 0, 1, Stream.TOKEN)[:, 0]
    counts = torch.bincount(draw(p.log().expand(len(uniform), 5), uniform), minlength=5)
    wanted = p * len(uniform)
    assert chi2.sf(float(((counts - wanted) ** 2 / wanted).sum()), 4) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [(0, 0.5, 0, 0.5, 0), (1, 0, 0), (0, 0, 1), (0, 1e-30, 0)])
def test_draw_never_returns_an_impossible_token(p: tuple[float, ...], dtype: torch.dtype) -> None:
    possible = [i for i, q in enumerate(p) if q > 0]
    log_p = logs(*p, dtype=dtype)
    uniform = torch.tensor([0.0, 2**-53, 0.25, 0.5, LARGEST, 1.0], dtype=torch.float64)
    tokens = draw(log_p.expand(6, len(p)), uniform)
    assert set(tokens.tolist()) <= set(possible)
    assert tokens[0] == possible[0]
    assert tokens[-1] == possible[-1]


def test_draw_has_the_shape_of_its_uniforms() -> None:
    log_p = torch.randn(2, 3, 4).log_softmax(-1)
    assert draw(log_p, torch.rand(2, 3)).shape == (2, 3)


def test_whole_nucleus_is_the_identity() -> None:
    log_p = logs(0.6, 0.3, 0.1)
    assert nucleus(log_p, 1.0) is log_p
    assert nucleus(log_p, 1.0, "inclusive") is log_p


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("top_p", "standard", "inclusive"),
    [
        (0.8, [0, 1], [0]),
        (0.9, [0, 1], [0, 1]),
        (0.6, [0], [0]),
        (0.61, [0, 1], [0]),
        (0.1, [0], [0]),
        (0.99, [0, 1, 2], [0, 1]),
    ],
)
def test_nucleus_in_both_rules(
    top_p: float, standard: list[int], inclusive: list[int], dtype: torch.dtype
) -> None:
    log_p = logs(0.6, 0.3, 0.1, dtype=dtype)
    assert kept(nucleus(log_p, top_p)) == standard
    assert kept(nucleus(log_p, top_p, "inclusive")) == inclusive


def test_nucleus_is_normalised_and_keeps_ratios() -> None:
    out = nucleus(logs(0.1, 0.6, 0.3), 0.8).exp()
    assert out.tolist() == pytest.approx([0, 2 / 3, 1 / 3])


def test_nucleus_breaks_ties_by_token() -> None:
    log_p = torch.full((5,), math.log(0.2), dtype=torch.float64)
    assert kept(nucleus(log_p, 0.5)) == [0, 1, 2]
    assert kept(nucleus(log_p, 0.5, "inclusive")) == [0, 1]


def test_nucleus_and_temperature_act_on_each_row_alone() -> None:
    log_p = torch.randn(3, 2, 6, dtype=torch.float64).log_softmax(-1)
    whole = nucleus(temper(log_p, 0.7), 0.8)
    single = torch.stack([nucleus(temper(row, 0.7), 0.8) for row in log_p.flatten(0, 1)])
    assert whole.flatten(0, 1).equal(single)


def test_temperature_is_a_power() -> None:
    p = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    want = p**2 / (p**2).sum()
    torch.testing.assert_close(temper(p.log(), 0.5).exp(), want)
    assert temper(p.log(), 1) is not None
    log_p = logs(0.5, 0.5, 0.0)
    assert temper(log_p, 3.0).exp().tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_normalise_and_one_hot() -> None:
    assert normalise(logs(0.2, 0.2)).exp().tolist() == pytest.approx([0.5, 0.5])
    assert one_hot(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_wrong_options_are_refused() -> None:
    log_p = logs(0.5, 0.5)
    for top_p in (0.0, -0.1, 1.1, math.nan):
        with pytest.raises(MoldiffError, match="top_p"):
            nucleus(log_p, top_p)
    with pytest.raises(MoldiffError, match="standard, inclusive"):
        nucleus(log_p, 0.9, "other")  # type: ignore[arg-type]
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(MoldiffError, match="temperature"):
            temper(log_p, temperature)


def test_no_temperature_makes_a_law_without_states() -> None:
    log_p = torch.tensor([0.2, 0.5, 0.3]).log()
    for temperature in (1e-40, 1e-6, 1e30):
        assert temper(log_p, temperature).exp().sum() == pytest.approx(1)
    assert temper(log_p, 1e-40).argmax() == 1
