"""The training loss: stratified times, and a function of (seed, step, rows) alone."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.objective import Batch, DiffusionObjective
from moldiff.diffusion.process import Masked, Process, Uniform
from moldiff.diffusion.random import RowRandom
from moldiff.errors import MoldiffError


def batch_of(tokens: Tensor, step: int = 0) -> Batch:
    rows = torch.arange(len(tokens))
    return Batch(tokens, None, rows, len(tokens), step, tokens.numel())


def part(batch: Batch, chosen: Tensor) -> Batch:
    return replace(batch, tokens=batch.tokens[chosen], rows=batch.rows[chosen])


def some_tokens(rows: int = 64, length: int = 5) -> Tensor:
    return torch.randint(3, (rows, length), generator=torch.Generator().manual_seed(0))


def by_position(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
    """A denoiser whose rows do not touch one another."""
    mood = (x_t.sum(-1).float() + t)[:, None, None] + torch.arange(x_t.shape[1])[None, :, None]
    return (mood + torch.arange(3)).sin().log_softmax(-1)


@pytest.mark.parametrize("t_min", [0.0, 0.1])
def test_one_time_falls_in_each_stratum(t_min: float) -> None:
    objective = DiffusionObjective(Masked(3), RowRandom(0), t_min)
    batch = batch_of(some_tokens(1000), step=3)
    t = objective.times(batch)
    place = (t - t_min) / (1 - t_min) * 1000
    assert place.ceil().long().equal(torch.arange(1, 1001))
    assert t.min() > t_min
    assert t.max() <= 1
    within = place - batch.rows
    assert abs(float(within.mean()) - 0.5) < 4 / math.sqrt(12 * 1000)


@pytest.mark.parametrize("process", [Masked(3), Uniform(3)], ids=str)
def test_loss_is_a_function_of_seed_step_and_rows(process: Process) -> None:
    objective, batch = DiffusionObjective(process, RowRandom(1)), batch_of(some_tokens(), step=7)
    loss = objective(by_position, batch).total
    torch.manual_seed(5)
    assert objective(by_position, batch).total == loss
    assert objective(by_position, replace(batch, step=8)).total != loss
    assert DiffusionObjective(process, RowRandom(2))(by_position, batch).total != loss
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    turned = objective(by_position, part(batch, order)).total
    torch.testing.assert_close(turned, loss, rtol=1e-6, atol=0)


@pytest.mark.parametrize("process", [Masked(3), Uniform(3)], ids=str)
def test_shares_of_any_size_add_up_to_the_loss_of_the_whole_batch(process: Process) -> None:
    objective, batch = DiffusionObjective(process, RowRandom(1)), batch_of(some_tokens(), step=7)
    whole = objective(by_position, batch).total
    for sizes in ((32, 32), (63, 1), (64, 0), (20, 30, 14)):
        ranks = [objective(by_position, part(batch, share)).total for share in torch.arange(64).split(sizes)]
        torch.testing.assert_close(sum(ranks), whole, rtol=1e-6, atol=0)


def test_a_batch_that_is_not_full_counts_for_its_share() -> None:
    objective, batch = DiffusionObjective(Masked(3), RowRandom(1)), batch_of(some_tokens(), step=7)
    loss = objective(by_position, replace(batch, whole=4 * batch.whole))
    torch.testing.assert_close(loss.total, loss.nll / 4)


@pytest.mark.parametrize("name", ["masked", "uniform"])
def test_loss_of_the_exact_denoiser_averages_to_the_entropy(name: str, pair: Any) -> None:
    process = getattr(pair, name)()
    source = torch.Generator().manual_seed(0)
    rows = torch.multinomial(pair.law, 256, replacement=True, generator=source)

    def denoiser(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        if name == "masked":
            return torch.as_tensor(pair.denoiser(process)(x_t, t))
        alphas = 1 - t.double()
        each = [pair.leave_one_out(process, x[None], a)[0] for x, a in zip(x_t, alphas, strict=True)]
        return torch.stack(each).log()

    objective = DiffusionObjective(process, RowRandom(0))
    losses = []
    for step in range(12 if name == "uniform" else 40):
        x_0 = pair.clean[rows.roll(step)]
        losses.append(float(objective(denoiser, batch_of(x_0, step)).nll))
    seen = torch.tensor(losses)
    # The rows at hand are a sample too: hold the loss against their own mean surprise.
    want = float(-pair.law.log()[rows].mean()) / 2
    assert abs(float(seen.mean()) - want) < 4 * float(seen.std()) / math.sqrt(len(losses))


def test_total_has_a_slope_and_the_logged_bound_has_none() -> None:
    logits = torch.zeros(3, requires_grad=True)

    def denoiser(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return logits.log_softmax(-1).expand(*x_t.shape, 3)

    for process in (Masked(3), Uniform(3)):
        loss = DiffusionObjective(process, RowRandom(0))(denoiser, batch_of(some_tokens()))
        torch.testing.assert_close(loss.total, loss.nll)
        assert not loss.nll.requires_grad
        (slope,) = torch.autograd.grad(loss.total, logits)
        assert slope.isfinite().all()
        assert slope.ne(0).any()


def test_loss_stays_finite_when_a_time_rounds_to_zero() -> None:
    # A whole batch of 2**40 rows puts row 0 at t < 1e-12, where 1 - t is 1 in single precision.
    batch = replace(batch_of(some_tokens(1)), size=2**40)
    for process in (Masked(3), Uniform(3)):
        assert DiffusionObjective(process, RowRandom(0))(by_position, batch).total.isfinite()


def test_the_network_is_told_conditions_and_single_precision_times() -> None:
    cond = torch.tensor([[1.0], [torch.nan]])
    seen: list[tuple[Tensor, Tensor | None]] = []

    def denoiser(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        seen.append((t, cond))
        return by_position(x_t, t)

    batch = replace(batch_of(some_tokens(2)), cond=cond)
    DiffusionObjective(Masked(3), RowRandom(0))(denoiser, batch)
    assert seen[0][0].dtype == torch.float32
    assert seen[0][0].shape == (2,)
    assert seen[0][1] is cond


@pytest.mark.parametrize("t_min", [-0.1, 1.0, math.nan])
def test_a_least_time_outside_its_range_is_refused(t_min: float) -> None:
    with pytest.raises(MoldiffError, match="t_min"):
        DiffusionObjective(Masked(3), RowRandom(0), t_min)
