"""The law of what samplers return: exact chains over every state, and draws held against them."""

import itertools
import math
from typing import Any

import pytest
import torch

from moldiff.diffusion.remasking import (
    DFM,
    Ancestral,
    Cap,
    Confidence,
    ForwardBackward,
    Loop,
    Remasking,
    Rescale,
    Switch,
)
from moldiff.diffusion.sampler import FirstHittingSampler, Sampler
from moldiff.diffusion.schedule import Cosine, LogLinear
from moldiff.diffusion.walk import Readout
from moldiff.types import Rows

#: Total variation to the data at T = 6, 12, 24, 48: sticky chain, exact denoiser, alpha = 1 - t.
GOLDEN = {
    Ancestral(): ("0.1981", "0.1010", "0.0509", "0.0255"),
    Cap(0.05): ("0.1871", "0.0889", "0.0408", "0.0194"),
    Cap(0.2): ("0.1675", "0.0792", "0.0425", "0.0268"),
    Cap(0.5): ("0.1615", "0.0873", "0.0529", "0.0337"),
    Cap(1.0): ("0.1637", "0.0898", "0.0532", "0.0339"),
}
#: Schedules without a memory, so that a chain over the tokens alone is the whole law.
MEMORYLESS: list[Remasking] = [
    Ancestral(),
    Cap(0.3),
    Rescale(0.5),
    Rescale(1.0),
    ForwardBackward(),
    DFM(scale=2.0),
    DFM(adaptive=True),
    Switch(Cap(0.3), 0.5),
    Loop.model_time(Cap(0.3)),
]
SAMPLES = 20_000


def sample(sampler: Any, toy: Any, seed: int = 0, rows: int = SAMPLES) -> torch.Tensor:
    tokens: torch.Tensor = sampler(
        toy.denoiser(sampler.process), Rows(torch.arange(rows), toy.length), seed=seed
    )
    return tokens


@pytest.mark.parametrize("remasking", GOLDEN, ids=str)
def test_exact_law_has_the_known_distances_to_the_data(remasking: Remasking, sticky: Any) -> None:
    process = sticky.masked()
    found = []
    for steps in (6, 12, 24, 48):
        laws = sticky.chain(process, remasking, steps)
        masked = (sticky.states(3) == 2).double()
        for step, law in zip(Sampler(process, steps, remasking).grid(), laws[1:], strict=True):
            share = law @ masked
            assert share.tolist() == pytest.approx([1 - step.alpha_s] * 6, abs=1e-12)
        end = sticky.on_data(process, laws[-1])
        assert float(end.sum()) == pytest.approx(1, abs=1e-12)
        found.append(f"{sticky.distance(end):.4f}")
    assert tuple(found) == GOLDEN[remasking]


def test_error_of_the_plain_sampler_is_of_first_order(sticky: Any) -> None:
    distances = [float(GOLDEN[Ancestral()][k]) for k in range(4)]
    for coarse, fine in itertools.pairwise(distances):
        assert coarse / fine == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("remasking", MEMORYLESS, ids=str)
@pytest.mark.parametrize("name", ["masked", "uniform"])
def test_samples_follow_the_exact_chain(name: str, remasking: Remasking, pair: Any) -> None:
    process = getattr(pair, name)()
    law = pair.on_data(process, pair.chain(process, remasking, 8)[-1])
    assert float(law.sum()) == pytest.approx(1, abs=1e-9)
    assert pair.misfit(sample(Sampler(process, 8, remasking), pair), law) > 1e-3


def test_samples_follow_the_exact_chain_on_another_schedule(pair: Any) -> None:
    process = pair.masked(Cosine())
    law = pair.on_data(process, pair.chain(process, Cap(0.3), 8)[-1])
    assert pair.misfit(sample(Sampler(process, 8, Cap(0.3)), pair), law) > 1e-3


@pytest.mark.parametrize("remasking", [Ancestral(), Rescale(1.0), Loop.model_time(Cap(0.3))], ids=str)
def test_events_first_and_every_position_at_once_have_one_law(remasking: Remasking, triple: Any) -> None:
    # Unguided at the posterior, a masked sampler draws each next state in one go from all S.
    process = triple.masked()
    law = triple.on_data(process, triple.chain(process, remasking, 6)[-1])
    events_first = sample(Sampler(process, 6, remasking), triple)
    at_once = sample(Sampler(process, 6, remasking, level="posterior"), triple)
    assert not events_first.equal(at_once)
    assert triple.misfit(events_first, law) > 1e-3
    assert triple.misfit(at_once, law) > 1e-3


def alike(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two counts of as many rows over 27 states may come from one law."""
    spread = (first - second) / (first + second).clamp(min=1).sqrt()
    # 27 differences of variance one, less one constraint.
    return float((spread**2).sum()) < 26 + 4 * math.sqrt(2 * 26)


@pytest.mark.parametrize(
    "remasking",
    [
        Confidence(Cap(0.4), "mean", temperature=0.2),
        Loop.model_time(Confidence(Rescale(0.9), balanced=True)),
        Loop.model_time(Confidence(Rescale(0.9))),
        Switch(Confidence(Rescale(1.0), "mean"), 0.6),
    ],
    ids=str,
)
@pytest.mark.parametrize("timed", [False, True])
def test_both_paths_agree_with_a_memory_and_told_the_time(
    timed: bool, remasking: Remasking, triple: Any
) -> None:
    process = triple.masked()
    exact = triple.denoiser(process)

    def denoiser(x_t: Any, t: torch.Tensor, cond: Any = None) -> torch.Tensor:
        log_p = exact(x_t, t)
        return (log_p * (0.5 + t[:, None, None])).log_softmax(-1) if timed else log_p

    counts = []
    for level in (None, "posterior"):
        sampler = Sampler(process, 8, remasking, level=level)  # type: ignore[arg-type]
        x = sampler(denoiser, Rows(torch.arange(40_000), 3))
        counts.append(torch.bincount(triple.code(x, 3), minlength=27).double())
    assert alike(*counts)
    if timed:
        x = Sampler(process, 8, remasking)(exact, Rows(torch.arange(40_000), 3))
        assert not alike(torch.bincount(triple.code(x, 3), minlength=27).double(), counts[0])


def test_confidence_changes_the_law(triple: Any) -> None:
    process = triple.masked()
    law = triple.on_data(process, triple.chain(process, Cap(0.4), 8)[-1])
    remasking = Confidence(Cap(0.4), "mean", temperature=0.05)
    assert triple.misfit(sample(Sampler(process, 8, remasking), triple), law) < 1e-3


@pytest.mark.parametrize("name", ["masked", "uniform"])
def test_one_step_draws_every_token_alone(name: str, pair: Any) -> None:
    process = getattr(pair, name)()
    first, second = pair.joint.sum(1), pair.joint.sum(0)
    alone = (first[:, None] * second).flatten()
    assert pair.distance(alone) > 0.05
    assert pair.misfit(sample(Sampler(process, 1), pair), alone) > 1e-3


def test_uniform_law_approaches_the_data_as_steps_grow(pair: Any) -> None:
    process = pair.uniform()
    distances = []
    for steps in (4, 16, 64, 256):
        law = pair.chain(process, Ancestral(), steps)[-1]
        distances.append(pair.distance(law))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] == pytest.approx(distances[-2] / 4, rel=0.1)
    assert distances[-1] < 2e-3


@pytest.mark.parametrize("remasking", [Cap(0.3), Rescale(0.7), ForwardBackward()], ids=str)
def test_uniform_remasking_keeps_the_marginal_of_every_position(remasking: Remasking, pair: Any) -> None:
    # With a denoiser that sees nothing, the positions are independent and each marginal is exact.
    first, second = pair.joint.sum(1), pair.joint.sum(0)
    alone = type(pair)(first[:, None] * second)
    process = alone.uniform()
    laws = alone.chain(process, remasking, 6)
    for step, law in zip(Sampler(process, 6, remasking).grid(), laws[1:], strict=True):
        seen = law.view(3, 3)
        torch.testing.assert_close(seen.sum(1), process.marginal(first, step.alpha_s))
        torch.testing.assert_close(seen.sum(0), process.marginal(second, step.alpha_s))
    assert alone.distance(laws[-1]) < 1e-12


def test_first_hitting_has_the_law_of_the_data(pair: Any, triple: Any, sticky: Any) -> None:
    for toy in (pair, triple, sticky):
        assert toy.misfit(sample(FirstHittingSampler(toy.masked()), toy), toy.law) > 1e-3


def test_first_hitting_has_the_any_order_law_of_a_wrong_denoiser(pair: Any) -> None:
    # A table that is no joint law: the order matters, and both orders are as likely.
    source = torch.Generator().manual_seed(2)
    table = torch.rand(4, 4, 2, 3, generator=source, dtype=torch.float64).softmax(-1)
    table = (table**4) / (table**4).sum(-1, keepdim=True)
    start = table[3, 3]
    left_first = start[0][:, None] * table[:3, 3, 1]
    right_first = start[1][None, :] * table[3, :3, 0].T
    law = ((left_first + right_first) / 2).flatten()

    def denoiser(x_t: Any, t: Any, cond: Any = None) -> torch.Tensor:
        return table.log()[x_t[:, 0], x_t[:, 1]]

    rows = Rows(torch.arange(SAMPLES), 2)
    x = FirstHittingSampler(pair.masked())(denoiser, rows)
    assert pair.misfit(x, law) > 1e-3
    assert pair.misfit(x, left_first.flatten()) < 1e-3


@pytest.mark.parametrize("schedule", [LogLinear(), Cosine()], ids=str)
def test_first_hitting_times_are_those_of_the_forward_process(schedule: Any, sticky: Any) -> None:
    # The noise level at which n of L tokens are left is an order statistic of L uniform numbers.
    seen: list[torch.Tensor] = []
    process = sticky.masked(schedule)
    exact = sticky.denoiser(process)

    def denoiser(x_t: Any, t: torch.Tensor, cond: Any = None) -> torch.Tensor:
        seen.append(1 - schedule.alpha(t.double()))
        out: torch.Tensor = exact(x_t, t)
        return out

    n = 4000
    FirstHittingSampler(process)(denoiser, Rows(torch.arange(n), 6))
    assert len(seen) == 6
    for k, noise in enumerate(seen):
        a, b = 6 - k, k + 1
        sd = math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)) / n)
        assert abs(float(noise.mean()) - a / (a + b)) < 4 * sd
    assert all((a > b).all() for a, b in itertools.pairwise(seen))


def test_given_tokens_condition_the_law(triple: Any) -> None:
    frozen = torch.tensor([False, True, False]).expand(SAMPLES, 3)
    tokens = torch.full((SAMPLES, 3), 2)
    rows = Rows(torch.arange(SAMPLES), 3, tokens=tokens, frozen=frozen)
    process = triple.masked()
    x = FirstHittingSampler(process)(triple.denoiser(process), rows)
    part = torch.zeros_like(triple.joint)
    part[:, 2] = triple.joint[:, 2]
    assert triple.misfit(x, (part / part.sum()).flatten()) > 1e-3


@pytest.mark.parametrize("level", ["x0", "posterior"])
def test_readout_sharpens_the_tokens_and_not_the_times(level: Any, pair: Any) -> None:
    process = pair.masked()
    sharp = Sampler(process, 1, level=level, readout=Readout(temperature=0.5))
    p = torch.stack([pair.joint.sum(1), pair.joint.sum(0)]) ** 2
    p = p / p.sum(-1, keepdim=True)
    assert pair.misfit(sample(sharp, pair), (p[0][:, None] * p[1]).flatten()) > 1e-3
    greedy = Sampler(process, 1, level=level, readout=Readout(top_p=1e-6))
    assert sample(greedy, pair).unique(dim=0).tolist() == [p.argmax(-1).tolist()]


def test_a_nucleus_does_not_slow_unmasking_down(triple: Any) -> None:
    process = triple.masked()
    full, cut = (
        triple.denoiser(process).forward(triple.states(4), torch.ones(64)),
        Readout(top_p=0.5),
    )
    step = Sampler(process, 5).grid()[2]
    rates = Ancestral().rates(step, None)  # type: ignore[arg-type]
    x = triple.states(4)
    stay = [process.transition(p.exp(), x, step, rates)[..., 3] for p in (full, cut(full))]
    torch.testing.assert_close(stay[0], stay[1], rtol=0, atol=1e-12)
