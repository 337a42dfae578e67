"""The likelihood bounds: met with equality by the exact denoiser, above it by every other."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.categorical import one_hot
from moldiff.diffusion.process import Masked, Process, Uniform
from moldiff.diffusion.schedule import Cosine, LogLinear, NoiseSchedule, Polynomial


def at(t: float, rows: int) -> Tensor:
    return torch.full((rows,), t, dtype=torch.float64)


def expected(toy: Any, process: Process, predict: Any) -> Any:
    """The integrand averaged over data and noise: a function of t."""
    x_t = toy.states(process.num_states)

    def integrand(t: float) -> float:
        alpha = process.schedule.at(t)
        log_x0 = predict(x_t, alpha).log()
        weight = toy.law[:, None] * toy.noised(process, alpha)
        total = 0.0
        for row, x_0 in enumerate(toy.clean):
            # States that x_0 cannot reach may be worth anything: they have no weight.
            value = process.nelbo(log_x0, x_0.expand_as(x_t), x_t, at(t, len(x_t))).sum(-1)
            seen = weight[row] > 0
            total += float((weight[row, seen] * value[seen]).sum())
        return total

    return integrand


@pytest.mark.parametrize("schedule", [LogLinear(), Cosine(), Polynomial()], ids=str)
@pytest.mark.parametrize("name", ["pair", "triple"])
def test_masked_bound_of_the_exact_denoiser_is_the_entropy(
    name: str, schedule: NoiseSchedule, integral: Any, request: Any
) -> None:
    toy = request.getfixturevalue(name)
    process = toy.masked(schedule)

    def predict(x: Tensor, alpha: float) -> Tensor:
        return toy.leave_one_out(process, x, 0.5)

    assert integral(expected(toy, process, predict)) == pytest.approx(toy.entropy, abs=1e-8)


def test_masked_bound_of_another_denoiser_is_larger(pair: Any, integral: Any) -> None:
    process = pair.masked()

    def blunt(x: Tensor, alpha: float) -> Tensor:
        return 0.9 * pair.leave_one_out(process, x, 0.5) + 0.1 / 3

    assert integral(expected(pair, process, blunt)) > pair.entropy + 1e-3


def test_discrete_bound_falls_to_the_entropy_as_steps_grow(triple: Any) -> None:
    process = triple.masked()
    x_t = triple.states(process.num_states)
    exact = triple.leave_one_out(process, x_t, 0.5)

    def bound(steps: int) -> float:
        total = 0.0
        for k in range(steps, 0, -1):
            alpha_t, alpha_s = 1 - k / steps, 1 - (k - 1) / steps
            weight = triple.law[:, None] * triple.noised(process, alpha_t)
            guess = process.posterior(exact, x_t, alpha_t, alpha_s)
            for row, x_0 in enumerate(triple.clean):
                hot = one_hot(x_0.expand_as(x_t), 3, torch.float64)
                seen = weight[row] > 0
                true = process.posterior(hot[seen], x_t[seen], alpha_t, alpha_s)
                ratio = torch.where(true > 0, (true / guess[seen]), 1.0)
                total += float((weight[row, seen] * (true * ratio.log()).sum((-1, -2))).sum())
        return total

    bounds = [bound(steps) for steps in (1, 4, 16, 64)]
    assert bounds == sorted(bounds, reverse=True)
    gaps = [b - triple.entropy for b in bounds]
    assert gaps[-1] > 0
    # The error is of first order in 1 / T.
    assert gaps[-1] == pytest.approx(gaps[-2] / 4, rel=0.1)


def test_masked_bound_of_a_row_is_the_mean_over_orders_of_its_chain_rule(integral: Any) -> None:
    # For any denoiser: here a table of random numbers over K = 3, L = 3.
    process = Masked(3)
    source = torch.Generator().manual_seed(3)
    table = torch.randn(4, 4, 4, 3, 3, generator=source, dtype=torch.float64).log_softmax(-1)
    x_t = torch.cartesian_prod(*[torch.arange(4)] * 3)
    x_0 = torch.tensor([2, 0, 1])
    reach = ((x_t == x_0) | (x_t == 3)).all(-1)
    x_t = x_t[reach]
    log_x0 = table[x_t[:, 0], x_t[:, 1], x_t[:, 2]]

    def integrand(t: float) -> float:
        masks = (x_t == 3).sum(-1).double()
        weight = t**masks * (1 - t) ** (3 - masks)
        value = process.nelbo(log_x0, x_0.expand_as(x_t), x_t, at(t, len(x_t)))
        return float((weight * value.sum(-1)).sum())

    chains = []
    for order in itertools.permutations(range(3)):
        row, surprise = [3, 3, 3], 0.0
        for place in order:
            surprise -= float(table[row[0], row[1], row[2], place, x_0[place]])
            row[place] = int(x_0[place])
        chains.append(surprise)
    assert integral(integrand) == pytest.approx(sum(chains) / 6, abs=1e-10)


def test_masked_bound_at_a_time_that_rounds_to_zero_is_not_nan() -> None:
    log_x0 = torch.zeros(1, 2, 3).log_softmax(-1).requires_grad_()
    x = torch.tensor([[0, 2]])
    for t in (torch.zeros(1), torch.full((1,), 1e-9), torch.full((1,), 1e-30).double()):
        loss = Masked(3).nelbo(log_x0, x, x, t).sum()
        (slope,) = torch.autograd.grad(loss, log_x0)
        assert loss == 0
        assert slope.eq(0).all()


def test_masked_bound_ignores_what_is_predicted_for_visible_tokens() -> None:
    log_x0 = torch.tensor([[[-math.inf, 0.0], [math.log(0.5)] * 2]])
    x_0, x_t = torch.tensor([[0, 1]]), torch.tensor([[0, 2]])
    value = Masked(2).nelbo(log_x0, x_0, x_t, torch.tensor([0.5]))
    assert value[0].tolist() == pytest.approx([0.0, 2 * math.log(2)])


@pytest.mark.parametrize("name", ["pair", "triple"])
def test_uniform_bound_is_met_by_the_leave_one_out_law_alone(name: str, integral: Any, request: Any) -> None:
    toy = request.getfixturevalue(name)
    process = toy.uniform()

    def mean(x: Tensor, alpha: float) -> Tensor:
        return toy.posterior_mean(process, x, alpha)

    def leave_one_out(x: Tensor, alpha: float) -> Tensor:
        return toy.leave_one_out(process, x, alpha)

    assert integral(expected(toy, process, leave_one_out)) == pytest.approx(toy.entropy, abs=1e-6)
    assert integral(expected(toy, process, mean)) > toy.entropy + 0.1


def rows_of(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every pair of tokens (x_0, x_t) as rows of one, and a prediction for each."""
    x_0, x_t = torch.cartesian_prod(torch.arange(tokens), torch.arange(tokens)).T[..., None]
    source = torch.Generator().manual_seed(4)
    logits = torch.randn(tokens**2, 1, tokens, generator=source, dtype=torch.float64)
    return x_0, x_t, logits.softmax(-1)


def as_printed(p: Tensor, x_0: Tensor, x_t: Tensor, alpha: float) -> Tensor:
    """Schiff et al., 2024, eq. 18, for alpha' = -1."""
    n = p.shape[-1]
    bar = n * alpha * one_hot(x_0, n, p.dtype) + 1 - alpha
    bar_p = n * alpha * p + 1 - alpha
    bar_z, bar_p_z = bar.gather(-1, x_t[..., None]), bar_p.gather(-1, x_t[..., None])
    sums = (bar / bar_z * ((bar_p_z * bar) / (bar_p * bar_z)).log()).sum(-1)
    return -1 / (n * alpha) * ((n / bar_z - n / bar_p_z).squeeze(-1) - sums)


def with_little_memory(p: Tensor, x_0: Tensor, x_t: Tensor, alpha: float) -> Tensor:
    """Sahoo et al., 2025 (DUO): sums over the tokens of log x_bar alone, for alpha' = -1."""
    n, a = p.shape[-1], alpha
    log_bar = (n * a * p + 1 - a).log()
    of_z = log_bar.gather(-1, x_t[..., None]).squeeze(-1)
    of_x = log_bar.gather(-1, x_0[..., None]).squeeze(-1)
    hit = (x_t == x_0).to(p.dtype)
    k = (1 - a) / (n * a + 1 - a)
    bar_z = n * a * hit + 1 - a
    first = n * (1 / bar_z - (-of_z).exp())
    second = -(hit * k + 1 - hit) * (log_bar.sum(-1) - n * of_z)
    second = second - n * a / (1 - a) * (of_x - of_z) * (1 - hit)
    second = second + ((n - 1) * k * hit - (1 - hit) / k) * math.log(k)
    return -1 / (n * a) * (first - second)


def by_rates(p: Tensor, x_0: Tensor, x_t: Tensor, alpha: float) -> Tensor:
    """Sum over jumps of r' - r + r log(r / r'), for alpha' = -1."""
    n = p.shape[-1]
    bars = [n * alpha * q + 1 - alpha for q in (one_hot(x_0, n, p.dtype), p)]
    r, guess = (bar / bar.gather(-1, x_t[..., None]) / (n * alpha) for bar in bars)
    terms = guess - r + r * (r / guess).log()
    return terms.masked_fill(one_hot(x_t, n).bool(), 0.0).sum(-1)


@pytest.mark.parametrize("alpha", [0.05, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("tokens", [2, 3, 7])
def test_uniform_bound_in_three_forms(tokens: int, alpha: float) -> None:
    x_0, x_t, p = rows_of(tokens)
    value = Uniform(tokens).nelbo(p.log(), x_0, x_t, at(1 - alpha, len(x_0)))
    for form in (as_printed, with_little_memory, by_rates):
        torch.testing.assert_close(value, form(p, x_0, x_t, alpha), rtol=1e-10, atol=1e-10)
    assert (value > 0).all()


def test_uniform_bound_is_the_divergence_of_one_short_step() -> None:
    h, t = 1e-6, 0.4
    x_0, x_t, p = rows_of(3)
    process = Uniform(3)
    true = process.posterior(one_hot(x_0, 3, p.dtype), x_t, 1 - t, 1 - t + h)
    guess = process.posterior(p, x_t, 1 - t, 1 - t + h)
    divergence = (true * (true / guess).log()).sum(-1) / h
    value = process.nelbo(p.log(), x_0, x_t, at(t, len(x_0)))
    torch.testing.assert_close(value, divergence, rtol=1e-4, atol=1e-4)


def test_uniform_bound_is_zero_for_the_truth() -> None:
    x_0, x_t, _ = rows_of(4)
    log_x0 = one_hot(x_0, 4, torch.float64).log()
    for alpha in (0.1, 0.5, 0.9):
        value = Uniform(4).nelbo(log_x0, x_0, x_t, at(1 - alpha, len(x_0)))
        torch.testing.assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_bound_and_its_slope_are_finite_at_the_ends(dtype: torch.dtype) -> None:
    x_0, x_t, p = rows_of(3)
    for t in (0.0, 1e-12, 1e-6, 1 - 1e-9, 1.0):
        log_x0 = p.log().to(dtype).requires_grad_()
        value = Uniform(3).nelbo(log_x0, x_0, x_t, at(t, len(x_0)))
        value.sum().backward()
        assert value.dtype == dtype
        assert value.isfinite().all()
        assert log_x0.grad is not None
        assert log_x0.grad.isfinite().all()
