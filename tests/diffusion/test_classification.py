"""Objectives of classifiers: the cross-entropy, what noise it is taken at, and what is not known."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.classification import (
    ClassifierObjective,
    PrefixObjective,
    framed,
    log_likelihoods,
    surprise,
)
from moldiff.diffusion.objective import Batch, DiffusionObjective
from moldiff.diffusion.process import Masked, Uniform
from moldiff.diffusion.random import RowRandom

NAN = math.nan
LABELS = torch.tensor([[0.0, 1.0], [1.0, NAN], [NAN, NAN], [1.0, 1.0]])


def batch() -> Batch:
    tokens = torch.tensor([[0, 1, 2, 0, 1], [2, 2, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 2, 2, 1]])
    return Batch(tokens, LABELS, torch.arange(4), 4, step=3, whole=40)


class Spy:
    """Answers with fixed chances of class 1 of two labels, and keeps what it was asked."""

    def __init__(self, chances: tuple[float, float], causal: bool = False) -> None:
        self.chances, self.causal = torch.tensor(chances), causal
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.seen.append((x_t, t))
        law = torch.stack([1 - self.chances, self.chances], -1).log()
        return law.expand(*(x_t.shape if self.causal else x_t.shape[:1]), 2, 2)


def test_rows_count_by_the_mean_over_the_labels_that_are_known() -> None:
    law = Spy((0.25, 0.5))(torch.zeros(4, 5), torch.zeros(4))[:, None]
    want = [
        (-math.log(0.75) - math.log(0.5)) / 2,
        -math.log(0.25),
        0.0,
        (-math.log(0.25) - math.log(0.5)) / 2,
    ]
    assert surprise(law, LABELS).tolist() == pytest.approx(want)


@pytest.mark.parametrize("process", [Masked(3), Uniform(3)], ids=str)
def test_the_noise_and_the_times_are_those_of_a_denoiser(process: Masked | Uniform) -> None:
    noise, spy = DiffusionObjective(process, RowRandom(5)), Spy((0.25, 0.5))
    loss = ClassifierObjective(noise)(spy, batch())
    x_t, t = noise.noised(batch())
    assert spy.seen[0][0].equal(x_t)
    assert spy.seen[0][1].equal(t.float())
    each = surprise(spy(x_t, t)[:, None], LABELS)
    assert float(loss.nll) == pytest.approx(float(each.mean()))
    # A batch of 20 of 40 tokens counts for half.
    assert float(loss.total) == pytest.approx(float(each.sum()) * 5 / 40)


def test_a_causal_one_reads_clean_framed_rows_and_is_asked_at_every_prefix() -> None:
    spy = Spy((0.25, 0.5), causal=True)
    loss = PrefixObjective(3)(spy, batch())
    x, t = spy.seen[0]
    assert x.equal(framed(batch().tokens, 3))
    assert x[0].tolist() == [3, 0, 1, 2, 0, 1, 3]
    assert not t.any()
    plain = ClassifierObjective(DiffusionObjective(Masked(3), RowRandom(5)))(Spy((0.25, 0.5)), batch())
    assert float(loss.nll) == pytest.approx(float(plain.nll))


def test_prefixes_count_alike() -> None:
    law = torch.tensor([0.5, 0.25, 0.125]).log()
    log_p = torch.stack([law, (1 - law.exp()).log()], -1)[None, :, None]
    assert float(surprise(log_p, torch.zeros(1, 1))) == pytest.approx(math.log(4))


def test_a_number_is_as_likely_as_under_the_normal_law_told() -> None:
    """One class and two numbers, the first of which nothing is known of in the second row."""
    told = torch.tensor([[[0.25, 0.75], [0.0, 0.0], [1.0, 0.5]], [[0.5, 0.5], [2.0, 1.0], [-3.0, -2.0]]])
    told[:, 0].log_()
    labels = torch.tensor([[1.0, 0.3, -0.5], [0.0, NAN, -2.5]])
    for tolerance in (0.0, 0.7):
        wide = (told[..., 1].exp() ** 2 + tolerance**2).sqrt()
        want = torch.distributions.Normal(told[..., 0], wide).log_prob(labels.nan_to_num())
        want[:, 0] = torch.tensor([0.75, 0.5]).log()
        want[1, 1] = 0
        torch.testing.assert_close(log_likelihoods(told, labels, (1, 2), tolerance), want)
    each = surprise(told[:, None].expand(-1, 3, -1, -1), labels, (1, 2))
    found = log_likelihoods(told, labels, (1, 2)).sum(-1)
    torch.testing.assert_close(each, -found / torch.tensor([3.0, 2.0]))


def test_within_a_tolerance_rows_that_are_sure_of_less_than_it_are_hardly_told_apart() -> None:
    sure = torch.tensor([[[0.0, -3.0]], [[0.2, -3.0]]])
    labels = torch.zeros(2, 1)
    gap = [float(-log_likelihoods(sure, labels, (0,), each).diff(dim=0)) for each in (0.0, 1.0)]
    assert gap[0] == pytest.approx(0.02 * math.exp(6))
    assert gap[1] == pytest.approx(0.02 / (1 + math.exp(-6)), rel=1e-4)


@pytest.mark.parametrize("causal", [False, True])
def test_the_loss_falls_to_the_law_of_the_numbers(causal: bool) -> None:
    """Of numbers that the rows do not tell, the best answer is their mean and standard deviation."""
    labels = torch.tensor([[3.0], [1.0], [NAN], [2.0]])
    rows = replace(batch(), cond=labels)
    law = torch.zeros(2, requires_grad=True)

    class Constant:
        def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
            return law.expand(*(x_t.shape if causal else x_t.shape[:1]), 1, 2)

    noise = DiffusionObjective(Masked(3), RowRandom(5))
    loss = PrefixObjective(3, (0,)) if causal else ClassifierObjective(noise, (0,))
    search = torch.optim.LBFGS([law], max_iter=60)

    def closure() -> Tensor:
        search.zero_grad()
        found = loss(Constant(), rows).total
        found.backward()
        return found

    search.step(closure)
    assert law[0].item() == pytest.approx(2.0, abs=1e-3)
    assert law[1].exp().item() == pytest.approx(math.sqrt(2 / 3), abs=1e-3)
