"""Weights of particles: their size, resampling without bias, and what is carried along."""

import math

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.particles import ancestors, effective_size, log_mean_exp, resample, uniforms
from moldiff.errors import MoldiffError

#: Weights of which some are 0, one is nearly all, and all are alike.
WEIGHTS = torch.tensor(
    [[0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.0, 0.5], [1e-9, 1.0, 1e-9, 0.0], [1.0, 1.0, 1.0, 1.0]],
    dtype=torch.float64,
)


def counts(index: Tensor) -> Tensor:
    """How often each of K particles goes on, (G, K), for index (G, K)."""
    return torch.nn.functional.one_hot(index, index.shape[-1]).sum(-2).double()


def expected(log_w: Tensor, places: int) -> Tensor:
    """The exact mean of ``counts`` over the uniforms of one group log_w (K,).

    Each place's choice depends on one uniform and is constant between the points where K times the
    cumulative weight has a whole part; so a sum over those pieces is the integral.
    """
    size = len(log_w)
    cuts = (log_w.softmax(-1).cumsum(-1) * size).frac()
    edges = torch.cat([torch.zeros(1), cuts, torch.ones(1)]).double().sort().values
    middle, width = (edges[1:] + edges[:-1]) / 2, edges.diff()
    index = ancestors(log_w.expand(len(middle), -1), middle[:, None].expand(-1, places))
    return (width[:, None] * counts(index)).sum(0)


@pytest.mark.parametrize("kind", ["systematic", "stratified"])
def test_a_particle_goes_on_as_often_as_its_weight_says(kind: str) -> None:
    for weights in WEIGHTS:
        wanted = len(weights) * weights / weights.sum()
        found = expected(weights.log(), uniforms(kind, len(weights)))  # type: ignore[arg-type]
        assert found.allclose(wanted, atol=1e-9)
        assert (found[weights == 0] == 0).all()


def test_systematic_counts_are_the_nearest_whole_numbers() -> None:
    u = torch.rand(2000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for weights in WEIGHTS:
        wanted = len(weights) * weights / weights.sum()
        found = counts(ancestors(weights.log().expand(2000, -1), u))
        assert ((found - wanted).abs() < 1).all()


def test_stratified_draws_each_place_by_itself() -> None:
    """With one number a group, the two middle particles of these weights always go on together."""
    weights = torch.tensor([0.25, 0.375, 0.375], dtype=torch.float64).log().expand(4000, -1)
    source = torch.Generator().manual_seed(0)
    found = {
        kind: counts(
            ancestors(weights, torch.rand(4000, uniforms(kind, 3), generator=source, dtype=torch.float64))  # type: ignore[arg-type]
        )
        for kind in ("systematic", "stratified")
    }
    patterns = {kind: {tuple(row) for row in each.tolist()} for kind, each in found.items()}
    assert patterns["systematic"] < patterns["stratified"]
    assert found["stratified"].mean(0).tolist() == pytest.approx([0.75, 1.125, 1.125], abs=0.03)


def test_who_goes_on_keeps_its_place() -> None:
    u = torch.rand(500, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_w = torch.randn(500, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 2
    index = ancestors(log_w, u)
    own = torch.arange(6).expand_as(index)
    stays = counts(index) > 0
    assert (index[stays] == own[stays]).all()
    assert (~stays).any()


def test_a_group_without_weight_stays_as_it_is() -> None:
    none = torch.full((1, 3), -math.inf, dtype=torch.float64)
    assert ancestors(none, torch.zeros(1, 1)).tolist() == [[0, 1, 2]]
    assert effective_size(none).tolist() == pytest.approx([3.0])


def test_the_effective_size_counts_equal_weights() -> None:
    weights = torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0], [3, 3, 0, 0]], dtype=torch.float64)
    for scale in (1e-300, 1.0, 1e300):
        assert effective_size((weights * scale).log()).tolist() == pytest.approx([4, 1, 2])


def test_weights_are_carried_where_nothing_is_resampled() -> None:
    log_w = torch.tensor([[0.0, 0.1, 0.2, 0.3], [0.0, 9.0, 0.0, 0.0]], dtype=torch.float64)
    index, after = resample(log_w, torch.full((2, 1), 0.5), 0.5)
    assert index[0].tolist() == [0, 1, 2, 3]
    assert after[0].equal(log_w[0])
    # The other group lives on from its heavy particle, and its total weight is what it was.
    assert index[1].tolist() == [1, 1, 1, 1]
    assert after[1].unique().numel() == 1
    assert log_mean_exp(after).allclose(log_mean_exp(log_w))


def test_the_threshold_says_when() -> None:
    log_w = torch.tensor([[0.0, 0.5]], dtype=torch.float64)
    u = torch.full((1, 1), 0.99)
    assert resample(log_w, u, 0.0)[1].equal(log_w)
    assert not resample(log_w, u, 1.0)[1].equal(log_w)
    # Equal weights, but for rounding, have nothing to gain.
    alike = torch.tensor([[0.1, 0.1 + 1e-15, 0.1]], dtype=torch.float64)
    assert resample(alike, u, 1.0)[0].tolist() == [[0, 1, 2]]


def test_an_unknown_resampling_is_refused() -> None:
    with pytest.raises(MoldiffError, match="systematic, stratified"):
        uniforms("residual", 3)  # type: ignore[arg-type]
