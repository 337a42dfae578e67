"""Uniform noise: what the network predicts, and how that is read out, remasked, guided and sharpened."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.categorical import one_hot, safe_log
from moldiff.diffusion.objective import Batch, DiffusionObjective
from moldiff.diffusion.process import Uniform
from moldiff.diffusion.random import RowRandom
from moldiff.diffusion.remasking import (
    Ancestral,
    Cap,
    Confidence,
    ForwardBackward,
    Rates,
    Remasking,
    Rescale,
    Step,
    View,
)
from moldiff.diffusion.sampler import Sampler
from moldiff.diffusion.schedule import Cosine, LogLinear, NoiseSchedule, Polynomial
from moldiff.diffusion.walk import Readout
from moldiff.guidance.classifier_free import ClassifierFree, combine
from moldiff.types import Rows

SAMPLES = 20_000
SCHEDULES = [LogLinear(), Cosine(), Polynomial()]


def predictions(rows: int, length: int, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Clean and noisy tokens (B, L), one in two the same, and log-predictions (B, L, K)."""
    source = torch.Generator().manual_seed(7)
    x_0, other = torch.randint(tokens, (2, rows, length), generator=source)
    x_t = torch.where(torch.rand(rows, length, generator=source) < 0.5, x_0, other)
    logits = 3 * torch.randn(rows, length, tokens, generator=source, dtype=torch.float64)
    return x_0, x_t, logits.log_softmax(-1)


# What the network predicts, and the clean read-out


@pytest.mark.parametrize("alpha", [0.05, 0.4, 0.9])
def test_the_last_step_reads_out_what_is_known_with_the_token_itself(alpha: float, triple: Any) -> None:
    process = triple.uniform()
    x_t = triple.states(3)
    alone = triple.leave_one_out(process, x_t, alpha)
    step = Step(1 - alpha, 0.0, alpha, 1.0, process.max_sigma(alpha, 1.0))
    for rates in (Rates(1.0, 0.0), Rates(0.3, 0.0)):
        read = process.transition(alone, x_t, step, rates)
        torch.testing.assert_close(read, triple.posterior_mean(process, x_t, alpha), rtol=0, atol=1e-12)
    # And back: a network trained by plain cross-entropy learns the former.
    back = read / (3 * alpha * one_hot(x_t, 3, read.dtype) + 1 - alpha)
    torch.testing.assert_close(back / back.sum(-1, keepdim=True), alone, rtol=0, atol=1e-12)


def test_where_a_flat_schedule_rounds_to_no_noise_nothing_changes() -> None:
    process = Uniform(3, Polynomial(10.0))
    grid = Sampler(process, 64).grid()
    assert grid[-1].alpha_t == 1

    def denoiser(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return safe_log(one_hot((x_t + 1) % 3, 3))

    x = Sampler(process, 64, readout=Readout(top_p=0.5))(denoiser, Rows(torch.arange(9), 4))
    assert ((x >= 0) & (x < 3)).all()
    still = process.transition(
        one_hot(torch.tensor([[1]]), 3), torch.tensor([[2]]), grid[-1], Rates(1.0, 0.0)
    )
    assert still.tolist() == [[[0.0, 0.0, 1.0]]]


# The bound


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("noise", [1e-6, 1e-4, 0.01, 0.3, 0.7, 0.99, 1 - 1e-4])
def test_single_precision_tells_the_bound_and_its_slope(noise: float, schedule: NoiseSchedule) -> None:
    times = schedule.inverse(torch.full((50,), 1 - noise, dtype=torch.float64))
    process = Uniform(20, schedule)
    x_0, x_t, log_x0 = predictions(50, 8, 20)
    found = []
    for dtype in (torch.float32, torch.float64):
        leaf = log_x0.to(dtype).requires_grad_()
        value = process.nelbo(leaf, x_0, x_t, times)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        found.append((value.detach().double(), slope.double()))
    (value, slope), (exact, exact_slope) = found
    # Near t = 1 terms of order 1 / alpha cancel; their slopes do not.
    assert (value - exact).abs().max() <= 1e-5 * exact.abs().max() + 1e-6 / (1 - noise)
    assert (slope - exact_slope).abs().max() <= 1e-4 * exact_slope.abs().max()


def test_single_precision_keeps_the_bound_of_the_exact_denoiser(pair: Any, integral: Any) -> None:
    process, x_t = pair.uniform(), pair.states(3)

    def integrand(t: float) -> float:
        log_x0 = pair.leave_one_out(process, x_t, 1 - t).log().float()
        weight = pair.law[:, None] * pair.noised(process, 1 - t)
        times = torch.full((len(x_t),), t, dtype=torch.float64)
        values = [process.nelbo(log_x0, x_0.expand_as(x_t), x_t, times).sum(-1) for x_0 in pair.clean]
        return float((weight * torch.stack(values).double()).sum())

    assert integral(integrand) == pytest.approx(pair.entropy, abs=2e-6)


def test_the_bound_commutes_with_renaming_the_tokens() -> None:
    for tokens in (2, 5):
        x_0, x_t, log_x0 = predictions(40, 6, tokens)
        renamed = torch.randperm(tokens, generator=torch.Generator().manual_seed(1))
        moved = torch.empty_like(log_x0)
        moved[..., renamed] = log_x0
        t = torch.linspace(0.05, 0.95, 40, dtype=torch.float64)
        process = Uniform(tokens)
        plain, after = process.nelbo(log_x0, x_0, x_t, t), process.nelbo(moved, renamed[x_0], renamed[x_t], t)
        torch.testing.assert_close(after, plain, rtol=1e-11, atol=1e-11)


def test_the_bound_keeps_one_array_of_the_predictions_size() -> None:
    x_0, x_t, log_x0 = predictions(32, 8, 24)
    leaf = log_x0.float().requires_grad_()
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        if tensor.numel() >= leaf.numel():
            kept.append(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = Uniform(24).nelbo(leaf, x_0, x_t, torch.rand(32, dtype=torch.float64))
    value.sum().backward()
    assert len(set(kept) - {leaf.data_ptr()}) == 1


@dataclass
class Counted:
    """A denoiser that counts its calls."""

    calls: int = 0

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.calls += 1
        return torch.zeros(*x_t.shape, 3).log_softmax(-1)


def test_a_loss_costs_one_forward() -> None:
    denoiser, rows = Counted(), torch.arange(8)
    batch = Batch(torch.zeros(8, 4, dtype=torch.int64), None, rows, 8, 0, 32)
    DiffusionObjective(Uniform(3), RowRandom(0))(denoiser, batch)
    assert denoiser.calls == 1


# Sampling: laws over all states, exact

#: The law of each position's next state (S**L, L, S), for all rows of states (S**L, L).
_Onward = Callable[[Tensor, Step, Rates], Tensor]


def end_of(toy: Any, sampler: Sampler, onward: _Onward) -> Tensor:
    """The law (K**L,) at the end of a walk that takes every position on by itself."""
    x = toy.states(toy.tokens)
    law = torch.full((len(x),), 1 / len(x), dtype=torch.float64)
    nothing = torch.zeros(x.shape, dtype=torch.bool)
    for step in sampler.grid():
        rates = sampler.remasking.rates(step, View(nothing, ~nothing, torch.ones(x.shape)))
        each, matrix = onward(x, step, rates), torch.ones(len(x), 1, dtype=torch.float64)
        for at in range(toy.length):
            matrix = (matrix[:, :, None] * each[:, at, None, :]).flatten(1)
        law = law @ matrix
    return law


def drawn(toy: Any, sampler: Sampler, denoiser: Any, **options: Any) -> Tensor:
    told = torch.ones(SAMPLES, 1)
    tokens: Tensor = sampler(denoiser, Rows(torch.arange(SAMPLES), toy.length, told), **options)
    return tokens


def test_the_bound_of_any_network_bounds_the_law_that_it_samples(pair: Any, integral: Any) -> None:
    process, x_t = pair.uniform(), pair.states(3)
    table = torch.rand(9, 2, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64) ** 3 + 0.01
    table = table / table.sum(-1, keepdim=True)

    def bound(x_0: Tensor) -> float:
        near = type(pair)(one_hot(pair.code(x_0, 3), 9, torch.float64).view(3, 3))

        def integrand(t: float) -> float:
            times = torch.full((9,), t, dtype=torch.float64)
            values = process.nelbo(table.log(), x_0.expand_as(x_t), x_t, times).sum(-1)
            return float(near.law @ near.noised(process, 1 - t) @ values)

        return float(integral(integrand))

    def onward(x: Tensor, step: Step, rates: Rates) -> Tensor:
        return process.transition(table[pair.code(x, 3)], x, step, rates)

    law = end_of(pair, Sampler(process, 512), onward)
    slack = torch.tensor([bound(x_0) for x_0 in pair.clean], dtype=torch.float64) + law.log()
    assert slack.min() > 0
    assert float(law @ slack) > 0.01


@pytest.mark.parametrize("remasking", [Ancestral(), Rescale(0.3)], ids=str)
@pytest.mark.parametrize("level", [None, "x0"])
def test_guidance_acts_on_the_next_state_unless_said_otherwise(
    level: Any, remasking: Remasking, pair: Any
) -> None:
    process, scale = pair.uniform(), 3.0
    other = type(pair)(pair.joint.flip(0))
    halves = pair.denoiser(process), other.denoiser(process)

    def denoiser(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        assert cond is not None
        given, null = (half(x_t, t) for half in halves)
        return torch.where(cond.isnan()[:, :, None], null, given)

    def at_posterior(x: Tensor, step: Step, rates: Rates) -> Tensor:
        p = [toy.leave_one_out(process, x, step.alpha_t) for toy in (pair, other)]
        onward = [process.transition(each, x, step, rates).log() for each in p]
        return combine(*onward, scale).exp()

    def at_x0(x: Tensor, step: Step, rates: Rates) -> Tensor:
        p = [toy.leave_one_out(process, x, step.alpha_t).log() for toy in (pair, other)]
        return process.transition(combine(*p, scale).exp(), x, step, rates)

    sampler = Sampler(process, 6, remasking, level)
    found = drawn(pair, sampler, denoiser, guidance=ClassifierFree(scale))
    wanted = [end_of(pair, sampler, each) for each in (at_posterior, at_x0)]
    assert (wanted[0] - wanted[1]).abs().sum() / 2 > 0.02
    fits = [pair.misfit(found, law) > 1e-3 for law in wanted]
    assert fits == [level is None, level == "x0"]


def test_sharpening_acts_on_the_prediction_before_the_step(pair: Any) -> None:
    process = pair.uniform()
    readout = Readout(temperature=0.5, top_p=0.8)

    def onward(x: Tensor, step: Step, rates: Rates) -> Tensor:
        p = readout(pair.leave_one_out(process, x, step.alpha_t).log()).exp()
        return process.transition(p, x, step, rates)

    sampler = Sampler(process, 6, readout=readout)
    law, plain = end_of(pair, sampler, onward), pair.chain(process, Ancestral(), 6)[-1]
    assert (law - plain).abs().sum() / 2 > 0.05
    assert pair.misfit(drawn(pair, sampler, pair.denoiser(process)), law) > 1e-3


def test_what_the_nucleus_cuts_is_not_there_at_the_end() -> None:
    def denoiser(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return torch.tensor([0.5, 0.4, 0.1]).log().expand(*x_t.shape, 3)

    rows = Rows(torch.arange(500), 4)
    assert (Sampler(Uniform(3), 3)(denoiser, rows) == 2).any()
    assert (Sampler(Uniform(3), 3, readout=Readout(top_p=0.8))(denoiser, rows) < 2).all()


def test_full_strength_predicts_clean_tokens_and_noises_them_again() -> None:
    process, x_t = Uniform(4), torch.arange(4)[None]
    p = predictions(1, 4, 4)[2].exp()
    step = Step(0.5, 0.4, 0.5, 0.6, process.max_sigma(0.5, 0.6))
    found = process.transition(p, x_t, step, Rates(0.0, Rescale(1.0).sigma(step)))
    clean = process.posterior(p, x_t, 0.5, 1.0)
    torch.testing.assert_close(found, process.marginal(clean, 0.6), rtol=0, atol=1e-12)


@pytest.mark.parametrize("remasking", [Cap(0.02), Cap(0.3), Rescale(0.3), ForwardBackward()], ids=str)
def test_remasking_is_closer_to_the_data_than_drawing_positions_anew(
    remasking: Remasking, triple: Any, sticky: Any
) -> None:
    # The mix of posterior and marginal, which is the same for masks, forgets here what stood in a position.
    for toy in (triple, sticky):
        process = toy.uniform()
        sampler = Sampler(process, 24, remasking)

        def anew(x: Tensor, step: Step, rates: Rates, toy: Any = toy, process: Uniform = process) -> Tensor:
            p = toy.leave_one_out(process, x, step.alpha_t)
            mix = float(rates.remask) / (1 - step.alpha_s) if step.alpha_s < 1 else 0.0
            posterior = process.posterior(p, x, step.alpha_t, step.alpha_s)
            return (1 - mix) * posterior + mix * process.marginal(p, step.alpha_s)

        ours = toy.distance(toy.chain(process, remasking, 24)[-1])
        assert ours < 0.9 * toy.distance(end_of(toy, sampler, anew))


@dataclass(frozen=True)
class Spied(Remasking):
    """A schedule that remembers the confidence it is shown."""

    inner: Remasking
    seen: list[Tensor]

    @property
    def needs_confidence(self) -> bool:
        return self.inner.needs_confidence

    def times(self, steps: int) -> list[float]:
        return self.inner.times(steps)

    def rates(self, step: Step, view: View) -> Rates:
        self.seen.append(view.confidence)
        return self.inner.rates(step, view)


@pytest.mark.parametrize("level", [None, "x0"])
def test_confidence_is_what_the_network_last_thought_of_the_token_that_is_there(level: Any) -> None:
    # The step's own chance would be near one for any token that stays, noise as it may be.
    law = torch.tensor([0.7, 0.2, 0.1])
    states: list[Tensor] = []

    def denoiser(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        states.append(x_t.clone())
        return law.log().expand(*x_t.shape, 3)

    spied = Spied(Confidence(Rescale(0.9)), [])
    Sampler(Uniform(3), 5, spied, level)(denoiser, Rows(torch.arange(50), 4))
    assert len(spied.seen) == len(states) == 5
    assert spied.seen[0].eq(1).all()
    for seen, x_t in zip(spied.seen[1:], states[1:], strict=True):
        torch.testing.assert_close(seen, law[x_t])


def test_tokens_of_little_confidence_are_remasked_more_often() -> None:
    # A held level, where a step without remasking changes nothing.
    process = Uniform(3)
    hold = Step(0.3, 0.3, 0.7, 0.7, process.max_sigma(0.7, 0.7))
    confidence = torch.tensor([[0.9, 0.1, 0.9, 0.9]])
    visible = torch.ones(1, 4, dtype=torch.bool)
    rates = Confidence(Rescale(0.9), temperature=0.2).rates(hold, View(~visible, visible, confidence))
    p = torch.full((1, 4, 3), 1 / 3)
    change = 1 - process.transition(p, torch.zeros(1, 4, dtype=torch.int64), hold, rates)[0, :, 0]
    assert change[1] > 10 * change[0] > 0


# Cost


@pytest.mark.parametrize("remasking", [Ancestral(), Cap(0.2), Confidence(Rescale(0.9))], ids=str)
def test_a_row_costs_one_forward_a_step(remasking: Remasking) -> None:
    denoiser = Counted()
    Sampler(Uniform(3), 9, remasking)(denoiser, Rows(torch.arange(20), 4))
    assert denoiser.calls == 9


def test_rows_of_given_tokens_alone_are_left_as_they_are() -> None:
    tokens = torch.tensor([[0, 1, 2, 1]] * 6)
    rows = Rows(torch.arange(6), 4, tokens=tokens, frozen=torch.ones(6, 4, dtype=torch.bool))
    assert Sampler(Uniform(3), 5, Rescale(1.0))(Counted(), rows).equal(tokens)
    some = replace(rows, frozen=tokens == 1)
    x = Sampler(Uniform(3), 5, Rescale(1.0))(Counted(), some)
    assert x[:, [1, 3]].eq(1).all()
    assert x[:, [0, 2]].unique().numel() > 1
