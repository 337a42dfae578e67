"""Classifier-free guidance: its formula, its zeros, and what it does to a sampler's law."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from moldiff.diffusion.categorical import safe_log
from moldiff.diffusion.process import Masked, Uniform
from moldiff.diffusion.remasking import Cap, Rates, Step
from moldiff.diffusion.sampler import FirstHittingSampler, Sampler
from moldiff.diffusion.walk import Readout, given, null
from moldiff.errors import MoldiffError
from moldiff.guidance.classifier_free import ClassifierFree, combine
from moldiff.nn.cost import count_forwards
from moldiff.types import Condition, Rows

SCALES = [0.0, 0.5, 1.0, 3.0, 10.0]


class Labelled(nn.Module):
    """The exact masked denoiser of rows of two tokens of three kinds, told a label in {0, 1} or none."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(1)).double() ** 6 + 0.02
        label = torch.tensor([0.3, 0.7], dtype=torch.float64)
        self.given_label = weights / weights.sum((1, 2), keepdim=True)
        blind = (label[:, None, None] * self.given_label).sum(0)
        self.joints = torch.cat([self.given_label, blind[None]])

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        which = torch.full((len(x_t),), 2) if cond is None else cond[:, 0].nan_to_num(2.0).long()
        joint = self.joints[which]
        rows = torch.arange(len(x_t))
        left, right = x_t.T
        of_left = torch.where((right < 3)[:, None], joint[rows, :, right.clamp(max=2)], joint.sum(2))
        of_right = torch.where((left < 3)[:, None], joint[rows, left.clamp(max=2)], joint.sum(1))
        p = torch.stack([of_left, of_right], 1)
        return (p / p.sum(-1, keepdim=True)).log()


def rows_with(label: float, count: int = 20_000) -> Rows:
    return Rows(torch.arange(count), 2, torch.full((count, 1), label))


def fits(x: Tensor, law: Tensor) -> bool:
    counts = torch.bincount(x[:, 0] * 3 + x[:, 1], minlength=9)
    wanted = law.flatten() * len(x)
    return float(chi2.sf(float(((counts - wanted) ** 2 / wanted).sum()), 8)) > 1e-3


def two_laws(zeros: bool = False) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(3)
    p, q = torch.rand(2, 4, 5, generator=source, dtype=torch.float64).softmax(-1)
    if zeros:
        p[0, 0] = p[1, 1] = q[1, 1] = q[2, 2] = p[3, :4] = 0
        p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
    return p, q


@pytest.mark.parametrize("scale", [0.5, 2.0, 5.0])
def test_guided_law_is_the_normalised_product_of_powers(scale: float) -> None:
    p, q = two_laws()
    product = p**scale * q ** (1 - scale)
    want = product / product.sum(-1, keepdim=True)
    torch.testing.assert_close(combine(p.log(), q.log(), scale).exp(), want, rtol=1e-12, atol=0)


def test_equal_halves_make_the_scale_irrelevant() -> None:
    p, _ = two_laws()
    for scale in SCALES:
        torch.testing.assert_close(combine(p.log(), p.log(), scale).exp(), p)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zeros_never_give_nan(scale: float, dtype: torch.dtype) -> None:
    p, q = two_laws(zeros=True)
    log_p, log_q = safe_log(p.to(dtype)), safe_log(q.to(dtype))
    for a, b in ((log_p, log_q), (log_q, log_p)):
        out = combine(a, b, scale)
        assert not out.isnan().any()
        assert out[a.isneginf()].isneginf().all()
        torch.testing.assert_close(out.exp().sum(-1), torch.ones(4, dtype=dtype))


def test_what_is_impossible_only_without_the_condition_keeps_its_weight() -> None:
    p, q = safe_log(torch.tensor([0.5, 0.5, 0.0])), safe_log(torch.tensor([0.0, 0.5, 0.5]))
    assert combine(p, q, 3.0).exp().tolist() == pytest.approx([0.5, 0.5, 0.0])


@pytest.mark.parametrize("process", [Masked(3), Uniform(3)], ids=str)
@pytest.mark.parametrize("level", ["x0", "posterior"])
def test_scales_one_and_zero_are_the_two_halves_bitwise(process: Any, level: Any) -> None:
    net, sampler = Labelled(), Sampler(process, 5, Cap(0.2), level=level)
    rows, blind = rows_with(1.0, 500), rows_with(math.nan, 500)
    assert sampler(net, rows, ClassifierFree(1.0)).equal(sampler(net, rows))
    assert sampler(net, rows, ClassifierFree(0.0)).equal(sampler(net, blind))
    assert not sampler(net, rows).equal(sampler(net, blind))


def test_one_batch_of_both_halves_or_one_half_alone() -> None:
    net, rows = Labelled(), rows_with(1.0, 50)
    for scale, factor in ((0.0, 1), (1.0, 1), (2.5, 2)):
        with count_forwards(net) as cost:
            FirstHittingSampler(Masked(3))(net, rows, ClassifierFree(scale))
        assert (cost.calls, cost.rows) == (2, 100 * factor)


def test_one_batch_and_two_calls_agree() -> None:
    net = Labelled()
    x_t, t, cond = torch.tensor([[3, 3], [3, 1]]), torch.ones(2), torch.tensor([[0.0], [1.0]])

    def ask(conds: Any) -> list[Tensor]:
        told = torch.cat([c(cond) for c in conds])
        out = net(x_t.repeat(len(conds), 1), t.repeat(len(conds)), told)
        return list(out.float().chunk(len(conds)))

    once = ClassifierFree(3.0)(ask, x_t, t)
    twice = combine(ask([given])[0], ask([null])[0], 3.0)
    torch.testing.assert_close(once, twice, rtol=1e-5, atol=1e-5)


def test_exact_condition_at_scale_one_gives_the_conditional_law() -> None:
    net = Labelled()
    for label in (0, 1):
        x = FirstHittingSampler(Masked(3))(net, rows_with(label), ClassifierFree(1.0))
        assert fits(x, net.given_label[label])
    assert fits(FirstHittingSampler(Masked(3))(net, rows_with(math.nan)), net.joints[2])


def test_guided_law_of_a_token_by_token_sampler_is_its_any_order_law() -> None:
    net, scale = Labelled(), 2.0

    def guided(x_t: list[int]) -> Tensor:
        row, t = torch.tensor([x_t]), torch.ones(1)
        halves = net(row, t, torch.ones(1, 1)), net(row, t, torch.full((1, 1), math.nan))
        return combine(*halves, scale)[0].exp()

    start = guided([3, 3])
    left_first = torch.stack([start[0, v] * guided([v, 3])[1] for v in range(3)])
    right_first = torch.stack([start[1, v] * guided([3, v])[0] for v in range(3)], 1)
    x = FirstHittingSampler(Masked(3))(net, rows_with(1.0), ClassifierFree(scale))
    assert fits(x, (left_first + right_first) / 2)
    assert not fits(x, net.given_label[1])


def still_masked(level: Any, scale: float) -> float:
    """The share of masks after the first of two steps, as the network sees it in the second."""
    net, seen = Labelled(), []

    def spy(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        seen.append(x_t[t == 0.5])
        out: Tensor = net(x_t, t, cond)
        return out

    count = 20_000
    Sampler(Masked(3), 2, level=level)(spy, rows_with(0.0, count), ClassifierFree(scale))
    halves = 1 if scale == 1 else 2
    return float((torch.cat(seen) == 3).sum()) / halves / (2 * count)


def odds_factor(log_cond: Tensor, log_null: Tensor, scale: float) -> Tensor:
    return (scale * log_cond + (1 - scale) * log_null).exp().sum(-1)


@pytest.mark.parametrize("scale", [1.0, 0.5, 4.0])
def test_unmasking_is_untouched_at_x0_and_sped_up_at_the_posterior(scale: float) -> None:
    net, start, t = Labelled(), torch.tensor([[3, 3]]), torch.ones(1)
    halves = net(start, t, torch.zeros(1, 1)), net(start, t)
    factor = odds_factor(*halves, scale)[0]
    # After half the way odds of 1 become odds of S.
    share = float((1 / (1 + factor)).mean())
    sd = math.sqrt(0.25 / 40_000)
    assert abs(still_masked("x0", scale) - 0.5) < 4 * sd
    assert abs(still_masked("posterior", scale) - share) < 4 * sd
    if scale == 4.0:
        assert share < 0.5 - 8 * sd


@pytest.mark.parametrize("scale", [0.5, 2.0, 5.0])
def test_unmask_odds_at_the_posterior_multiply_by_the_sum_of_powers(scale: float) -> None:
    p, q = two_laws()
    process, x_t = Masked(5), torch.full((1, 4), 5)
    step, rates = Step(0.5, 0.4, 0.5, 0.6, 0.8), Rates(0.2, 0.0)
    onward = [process.transition(each[None], x_t, step, rates).log() for each in (p, q)]
    stay = combine(*onward, scale).exp()[0, :, 5]
    factor = odds_factor(p.log(), q.log(), scale)
    torch.testing.assert_close((1 - stay) / stay, 0.25 * factor, rtol=1e-10, atol=0)
    guided_first = combine(p.log(), q.log(), scale).exp()
    plain = process.transition(guided_first[None], x_t, step, rates)
    torch.testing.assert_close(plain[0, :, 5], torch.full((4,), 0.8, dtype=torch.float64), rtol=1e-12, atol=0)
    assert (factor >= 1).all() if scale > 1 else (factor <= 1).all()


@pytest.mark.parametrize("scale", SCALES)
def test_a_sampler_cut_by_a_nucleus_survives_any_scale(scale: float) -> None:
    for process in (Masked(3), Uniform(3)):
        sampler = Sampler(process, 6, Cap(0.3), "posterior", Readout(top_p=0.6))
        x = sampler(Labelled(), rows_with(1.0, 200), ClassifierFree(scale))
        assert ((x >= 0) & (x < 3)).all()


@pytest.mark.parametrize("scale", [-0.5, math.nan, math.inf])
def test_a_scale_that_is_no_scale_is_refused(scale: float) -> None:
    with pytest.raises(MoldiffError, match="guidance scale"):
        ClassifierFree(scale)


def test_what_is_always_told_is_told_in_the_unconditional_half_too() -> None:
    cond = torch.tensor([[0.5, 2.0], [math.nan, 1.0]])
    asked: list[torch.Tensor] = []

    def log_probs(conditions: Sequence[Condition]) -> list[torch.Tensor]:
        found = [condition(cond) for condition in conditions]
        asked.extend(each for each in found if each is not None)
        return [torch.zeros(2, 1, 3).log_softmax(-1) for _ in found]

    ClassifierFree(2.0, always=(1,))(log_probs, torch.zeros(2, 1), torch.ones(2))
    torch.testing.assert_close(asked[0], cond, equal_nan=True)
    told = torch.tensor([[math.nan, 2.0], [math.nan, 1.0]])
    torch.testing.assert_close(asked[1], told, equal_nan=True)
    ClassifierFree(0.0, always=(1,))(log_probs, torch.zeros(2, 1), torch.ones(2))
    torch.testing.assert_close(asked[2], told, equal_nan=True)
