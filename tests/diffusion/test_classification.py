"""Objectives of classifiers: the cross-entropy, what noise it is taken at, and what is not known."""

import math

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.classification import ClassifierObjective, PrefixObjective, cross_entropy, framed
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
    assert cross_entropy(law, LABELS).tolist() == pytest.approx(want)


@pytest.mark.parametrize("process", [Masked(3), Uniform(3)], ids=str)
def test_the_noise_and_the_times_are_those_of_a_denoiser(process: Masked | Uniform) -> None:
    noise, spy = DiffusionObjective(process, RowRandom(5)), Spy((0.25, 0.5))
    loss = ClassifierObjective(noise)(spy, batch())
    x_t, t = noise.noised(batch())
    assert spy.seen[0][0].equal(x_t)
    assert spy.seen[0][1].equal(t.float())
    each = cross_entropy(spy(x_t, t)[:, None], LABELS)
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
    assert float(cross_entropy(log_p, torch.zeros(1, 1))) == pytest.approx(math.log(4))
