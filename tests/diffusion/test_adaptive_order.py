"""The adaptive order: which position goes first, and the law that follows."""

from typing import Any

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.adaptive_order import AdaptiveOrderSampler
from moldiff.diffusion.process import Masked, Uniform
from moldiff.errors import MoldiffError
from moldiff.nn.cost import count_forwards
from moldiff.types import Rows

SAMPLES = 20_000


@pytest.mark.parametrize("noise", [0.0, 0.3, 5.0])
def test_with_an_exact_network_any_order_has_the_law_of_the_data(
    noise: float, pair: Any, sticky: Any
) -> None:
    for toy in (pair, sticky):
        process = toy.masked()
        x = AdaptiveOrderSampler(process, noise)(
            toy.denoiser(process), Rows(torch.arange(SAMPLES), toy.length)
        )
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

    return AdaptiveOrderSampler(Masked(3), noise)(denoiser, Rows(torch.arange(SAMPLES), 2))


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
        x = AdaptiveOrderSampler(Masked(3))(net, rows)
    assert cost.rows == int((~frozen).sum())
    assert x[frozen].equal(tokens[frozen])
    assert (x < 3).all()


def test_a_process_without_masks_and_bad_noise_are_refused() -> None:
    with pytest.raises(MoldiffError, match="without masks"):
        AdaptiveOrderSampler(Uniform(3))
    for noise in (-0.1, float("nan"), float("inf")):
        with pytest.raises(MoldiffError, match="noise of adaptive-order"):
            AdaptiveOrderSampler(Masked(3), noise)
