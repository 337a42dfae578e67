"""Orders of unmasking: which positions go first, and the law that follows."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.ordered import EntropyBound, OrderedSampler, Surest, entropy
from moldiff.diffusion.process import Masked, Uniform
from moldiff.errors import MoldiffError
from moldiff.nn.cost import count_forwards
from moldiff.types import Rows

SAMPLES = 20_000


@pytest.mark.parametrize(
    "order",
    [
        Surest("margin", 0.0),
        Surest("margin", 0.3),
        Surest("margin", 5.0),
        Surest("probability"),
        Surest("entropy"),
        EntropyBound(0.0),
    ],
    ids=str,
)
def test_with_an_exact_network_any_order_has_the_law_of_the_data(order: Any, pair: Any, sticky: Any) -> None:
    for toy in (pair, sticky):
        process = toy.masked()
        x = OrderedSampler(process, order)(toy.denoiser(process), Rows(torch.arange(SAMPLES), toy.length))
        assert toy.misfit(x, toy.law) > 1e-3


def wrong() -> tuple[Tensor, Tensor, Tensor]:
    """A table p(x_0 | x_t) (4, 4, 2, 3) that is no joint law, and its laws left first and right first."""
    source = torch.Generator().manual_seed(2)
    table = torch.rand(4, 4, 2, 3, generator=source, dtype=torch.float64).softmax(-1)
    table = (table**4) / (table**4).sum(-1, keepdim=True)
    start = table[3, 3]
    left_first = start[0][:, None] * table[:3, 3, 1]
    right_first = start[1][None, :] * table[3, :3, 0].T
    return table, left_first.flatten(), right_first.flatten()


def draws(table: Tensor, noise: float) -> Tensor:
    def denoiser(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return table.log()[x_t[:, 0], x_t[:, 1]]

    return OrderedSampler(Masked(3), Surest("margin", noise))(denoiser, Rows(torch.arange(SAMPLES), 2))


def test_the_position_with_the_larger_margin_goes_first(pair: Any) -> None:
    table, left_first, right_first = wrong()
    best = table[3, 3].topk(2, -1).values
    margins = (best[:, 0] - best[:, 1]).tolist()
    assert margins[0] != pytest.approx(margins[1], abs=0.01)
    first, second = (left_first, right_first) if margins[0] > margins[1] else (right_first, left_first)
    assert pair.misfit(draws(table, 0.0), first) > 1e-3
    assert pair.misfit(draws(table, 0.0), second) < 1e-3


def test_much_noise_takes_either_order_as_often(pair: Any) -> None:
    table, left_first, right_first = wrong()
    assert pair.misfit(draws(table, 1e6), (left_first + right_first) / 2) > 1e-3


def law(*chances: float) -> Tensor:
    """One position's log-probabilities over three tokens."""
    return torch.tensor(chances, dtype=torch.float64).log()


#: Positions of which each measure of sureness prefers another.
APART = torch.stack([law(0.55, 0.449, 0.001), law(0.50, 0.26, 0.24), law(0.49, 0.509, 0.001)])[None]


@pytest.mark.parametrize(("measure", "place"), [("probability", 0), ("margin", 1)])
def test_each_measure_has_its_own_surest_position(measure: Any, place: int) -> None:
    left, even = torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 3, dtype=torch.float64)
    assert Surest(measure)(APART, left, even)[0].tolist() == [at == place for at in range(3)]
    # What is not left is not chosen, however sure.
    left[0, place] = False
    assert not Surest(measure)(APART, left, even)[0, place]


def test_sureness_by_entropy_is_the_share_of_log_k_that_is_missing() -> None:
    log_p = torch.stack([law(1 / 3, 1 / 3, 1 / 3), law(1, 0, 0), law(0.5, 0.5, 0)])[None]
    found = Surest("entropy").sureness(log_p)[0].tolist()
    assert found == pytest.approx([0, 1, 1 - math.log(2) / math.log(3)], abs=1e-12)
    assert min(Surest("entropy").sureness(torch.full((1, 1, 1), 0.0))[0].tolist()) == 1
    fire = Surest("entropy")(log_p, torch.tensor([[True, False, True]]), torch.zeros(1, 3))
    assert fire.tolist() == [[False, False, True]]


def test_the_entropy_bound_takes_the_most_whose_sum_less_the_largest_is_within_gamma() -> None:
    source = torch.Generator().manual_seed(5)
    log_p = (torch.randn(40, 7, 3, generator=source, dtype=torch.float64) * 3).log_softmax(-1)
    left = torch.rand(40, 7, generator=source) < 0.7
    left[:, 0] = True
    each = entropy(log_p)
    for gamma in (0.0, 0.05, 0.4, 2.0):
        fire = EntropyBound(gamma)(log_p, left, torch.zeros(40, 7, dtype=torch.float64))
        for row in range(40):
            sizes = sorted(each[row][left[row]].tolist())
            most = max(k for k in range(1, len(sizes) + 1) if sum(sizes[:k]) - sizes[k - 1] <= gamma)
            assert sorted(each[row][fire[row]].tolist()) == sizes[:most]
            assert not (fire[row] & ~left[row]).any()


class Steady(torch.nn.Module):
    """Says the same of each position, whatever is there, and counts its calls."""

    def __init__(self, log_p: Tensor) -> None:
        super().__init__()
        self.log_p = log_p

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.log_p.expand(len(x_t), -1, -1)


@pytest.mark.parametrize(
    ("gamma", "certain", "calls"), [(0.0, 0, 5), (0.0, 3, 2), (math.inf, 0, 1), (math.inf, 3, 1)]
)
def test_gamma_0_takes_one_or_all_that_are_certain_and_infinity_takes_all(
    gamma: float, certain: int, calls: int
) -> None:
    # The certain ones go together with the first of those that are not: alone it loses nothing.
    rows = [law(1, 0, 0)] * certain + [law(0.5, 0.3, 0.2)] * (5 - certain)
    net = Steady(torch.stack(rows).float())
    with count_forwards(net) as cost:
        x = OrderedSampler(Masked(3), EntropyBound(gamma))(net, Rows(torch.arange(SAMPLES), 5))
    assert cost.calls == calls
    assert (x[:, :certain] == 0).all()
    # Drawn together or one by one, positions that are independent have the same law.
    chances = x[:, certain:].flatten().bincount(minlength=3) / x[:, certain:].numel()
    torch.testing.assert_close(chances, torch.tensor([0.5, 0.3, 0.2]), atol=0.01, rtol=0)


def test_it_costs_one_forward_a_generated_token_and_keeps_what_is_given() -> None:
    class Flat(torch.nn.Module):
        def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            # The time is that at which such a share is masked.
            assert torch.allclose(t, (x_t == 3).float().mean(-1), atol=1e-6)
            return torch.full((*x_t.shape, 3), 1 / 3).log()

    frozen = torch.zeros(12, 6).bool()
    frozen[:4, :2] = True
    frozen[4] = True
    tokens = torch.arange(72).view(12, 6) % 3
    rows = Rows(torch.arange(12), 6, tokens=tokens, frozen=frozen)
    net = Flat()
    with count_forwards(net) as cost:
        x = OrderedSampler(Masked(3))(net, rows)
    assert cost.rows == int((~frozen).sum())
    assert x[frozen].equal(tokens[frozen])
    assert (x < 3).all()


def test_a_process_without_masks_and_bad_options_are_refused() -> None:
    with pytest.raises(MoldiffError, match="without masks"):
        OrderedSampler(Uniform(3))
    for noise in (-0.1, float("nan"), float("inf")):
        with pytest.raises(MoldiffError, match="noise of an order"):
            Surest("margin", noise)
    for gamma in (-0.1, float("nan")):
        with pytest.raises(MoldiffError, match="gamma of entropy-bound"):
            EntropyBound(gamma)
    with pytest.raises(MoldiffError, match="choose from probability, margin, entropy"):
        Surest("luck")  # type: ignore[arg-type]
