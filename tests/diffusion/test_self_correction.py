"""The correction term: what the corrector reads, what it is paid for, and that nothing else changes."""

import gc
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from moldiff.diffusion.objective import Batch, DiffusionObjective, Loss
from moldiff.diffusion.process import Masked, Uniform
from moldiff.diffusion.random import RowRandom
from moldiff.diffusion.schedule import Cosine, LogLinear, NoiseSchedule, Polynomial
from moldiff.diffusion.self_correction import SelfCorrection
from moldiff.errors import MoldiffError
from moldiff.nn.embedding import ConditionSlot
from moldiff.nn.transformer import Transformer, TransformerConfig

KINDS, LENGTH = 5, 6
MASK = KINDS


def base(seed: int = 1, schedule: NoiseSchedule | None = None, t_min: float = 0.0) -> DiffusionObjective:
    return DiffusionObjective(Masked(KINDS, schedule or LogLinear()), RowRandom(seed), t_min)


def batch_of(rows: int = 32, step: int = 3, cond: Tensor | None = None) -> Batch:
    tokens = torch.randint(KINDS, (rows, LENGTH), generator=torch.Generator().manual_seed(0))
    return Batch(tokens, cond, torch.arange(rows), rows, step, tokens.numel())


def network(dropout: float = 0.0, **options: Any) -> Transformer:
    torch.manual_seed(0)
    built = Transformer(TransformerConfig(KINDS, KINDS + 1, LENGTH, 16, 2, 2, dropout=dropout, **options))
    for weights in built.parameters():
        if not weights.any():  # else most slopes would be 0
            nn.init.normal_(weights, std=0.3)
    return built


class Watched(nn.Module):
    """A network that keeps what it was asked, and what it answered."""

    def __init__(self, inner: Callable[..., Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.asked: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self.said: list[Tensor] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.asked.append((x_t, t, cond))
        out = self.inner(x_t, t, cond)
        self.said.append(out.detach())
        return out


def slopes(loss: Loss, module: nn.Module) -> list[Tensor]:
    module.zero_grad()
    loss.total.backward()  # type: ignore[no-untyped-call]
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


def surprise(log_p: Tensor, x: Tensor) -> Tensor:
    return -log_p.gather(-1, x[..., None]).squeeze(-1)


@pytest.mark.parametrize("schedule", [LogLinear(), Cosine(), Polynomial(2.0)], ids=str)
def test_the_weight_of_a_time_is_the_one_of_the_bound(schedule: NoiseSchedule) -> None:
    t = torch.tensor([0.001, 0.1, 0.5, 0.9], dtype=torch.float64)
    step = 1e-7
    slope = (schedule.alpha(t + step) - schedule.alpha(t - step)) / (2 * step)
    torch.testing.assert_close(schedule.weight(t), slope.abs() / (1 - schedule.alpha(t)), rtol=1e-5, atol=0)
    if isinstance(schedule, LogLinear):
        torch.testing.assert_close(schedule.weight(t), 1 / t, rtol=1e-6, atol=0)
    # The loss is that weight times the surprise, over the rows of late enough times, as their mean.
    objective, batch = SelfCorrection(base(schedule=schedule), denoise=0, t_min=0.3, weight=2.0), batch_of()
    watched = Watched(network())
    total = objective(watched, batch).total
    times = objective.base.times(batch)
    late = times >= 0.3
    each = surprise(watched.said[1], batch.tokens[late]).sum(-1)
    want = 2 * (schedule.weight(times)[late] * each).sum() / 0.7 / batch.tokens.numel()
    torch.testing.assert_close(total, want.float())


def test_without_the_term_loss_and_slopes_are_those_of_the_bound_to_the_last_bit() -> None:
    module, batch = network(dropout=0.3), batch_of()
    torch.manual_seed(5)
    plain = base()(module, batch)
    wanted = slopes(plain, module)
    torch.manual_seed(5)
    off = SelfCorrection(base(), weight=0.0)(module, batch)
    assert off.total.equal(plain.total)
    assert off.nll.equal(plain.nll)
    assert off.parts == {}
    found = slopes(off, module)
    assert all(a.equal(b) for a, b in zip(wanted, found, strict=True))


def test_the_bound_is_the_same_beside_the_term() -> None:
    watched = Watched(network())
    plain = base()(watched, batch_of())
    both = SelfCorrection(base())(watched, batch_of())
    assert watched.asked[0][0].equal(watched.asked[1][0])
    assert watched.said[0].equal(watched.said[1])
    assert both.nll.equal(plain.nll)
    assert both.total > plain.total


@pytest.mark.parametrize("split", [False, True])
def test_alone_the_term_has_the_slope_of_its_own_pass_and_none_of_the_first(split: bool) -> None:
    module, batch = network(), batch_of()
    objective = SelfCorrection(base(), denoise=0.0, split=split)
    watched = Watched(module)
    found = slopes(objective(watched, batch), module)
    y, t, _ = watched.asked[1]
    late = objective.base.times(batch) >= 0.1
    weight = 1 / objective.base.times(batch)[late, None].float() / 0.9
    own = (weight * surprise(module(y, t), batch.tokens[late])).sum() / batch.tokens.numel()
    wanted = slopes(Loss(own, own), module)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_corrector_reads_whole_rows_through_which_no_slope_runs() -> None:
    for options in ({}, {"input": "sampled"}, {"visible": "raw"}, {"input": "mix", "visible": "raw"}):
        watched = Watched(network())
        SelfCorrection(base(), **cast(Any, options))(watched, batch_of())
        y, t, _ = watched.asked[1]
        assert len(watched.asked) == 2
        assert y.dtype == torch.int64
        assert not y.requires_grad
        assert y.min() >= 0
        assert y.max() < MASK
        # Nothing of it is noise, which is what a network that is told the time is told.
        assert t.dtype == torch.float32
        assert not t.any()


def test_the_corrector_reads_what_is_asked_for() -> None:
    batch = batch_of(400)
    late = base().times(batch) >= 0.1
    read: dict[tuple[str, str], Tensor] = {}
    for given in ("argmax", "sampled", "mix"):
        for visible in ("carry_over", "raw"):
            watched = Watched(network())
            SelfCorrection(base(), input=given, visible=visible)(watched, batch)  # type: ignore[arg-type]
            read[given, visible] = watched.asked[1][0]
            x_t, said = watched.asked[0][0][late], watched.said[0][late]
    masked, best = x_t == MASK, said.argmax(-1)
    assert read["argmax", "raw"].equal(best)
    assert read["argmax", "carry_over"].equal(torch.where(masked, best, x_t))
    assert read["argmax", "carry_over"][~masked].equal(batch.tokens[late][~masked])
    sampled = read["sampled", "raw"]
    assert read["sampled", "carry_over"].equal(torch.where(masked, sampled, x_t))
    # Draws are from the network's own law.
    share = (sampled == best).double().mean()
    chance = said.exp().amax(-1).double()
    spread = math.sqrt(float((chance * (1 - chance)).sum())) / chance.numel()
    assert abs(float(share - chance.mean())) < 4 * spread
    # A mixture takes a whole row from either.
    mixed, rows = read["mix", "raw"], len(best)
    from_best, from_draw = (mixed == best).all(-1), (mixed == sampled).all(-1)
    assert (from_best | from_draw).all()
    assert abs(int(from_best.sum()) - rows / 2) < 4 * math.sqrt(rows) / 2 + int((from_best & from_draw).sum())


def test_every_position_is_paid_for_and_a_perfect_network_pays_nothing() -> None:
    batch = batch_of()

    def perfect(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        rows = batch.tokens if len(x_t) == len(batch.tokens) else batch.tokens[late]
        return (nn.functional.one_hot(rows, KINDS) + 1e-9).log().log_softmax(-1)

    def copying(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        # Where there is a mask it guesses token 0, and else it says what it reads.
        return (nn.functional.one_hot(x_t % MASK, KINDS) + 1e-9).log().log_softmax(-1)

    late = base().times(batch) >= 0.1
    done = SelfCorrection(base())(perfect, batch)
    assert float(done.total) < 1e-6
    assert float(done.parts["correction_errors"]) == 0
    watched = Watched(copying)
    objective = SelfCorrection(base(), denoise=0.0)
    total = float(objective(watched, batch).total)
    wrong = watched.asked[1][0] != batch.tokens[late]
    weight = (1 / objective.base.times(batch)[late, None] / 0.9).expand_as(wrong)
    paid = -math.log(1e-9) * float(weight[wrong].sum()) / batch.tokens.numel()
    assert total == pytest.approx(paid, rel=1e-4)
    # Right tokens count too: a network that doubts them pays for it, visible ones included.
    module = Watched(network())
    parts = objective(module, batch).parts
    paid = surprise(module.said[1], batch.tokens[late])
    assert (paid > 0).all()
    torch.testing.assert_close(parts["correction_nll"], paid.mean())


def test_weighted_errors_pay_little_for_what_is_right() -> None:
    batch, watched = batch_of(), Watched(network())
    objective = SelfCorrection(base(), denoise=0.0, errors="weighted")
    total = objective(watched, batch).total
    late = objective.base.times(batch) >= 0.1
    x, y = batch.tokens[late], watched.asked[1][0]
    cost = surprise(watched.said[1], x)
    cost = torch.where(y == x, -(-cost).exp(), cost)
    assert cost[y == x].min() >= -1
    assert cost[y == x].max() <= 0
    weight = 1 / objective.base.times(batch)[late, None] / 0.9
    torch.testing.assert_close(total, ((weight * cost).sum() / batch.tokens.numel()).float())
    assert SelfCorrection(base()).errors == "plain"


class Held:
    """How many bytes the backward pass is waiting for, and the most there ever were."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def pack(self, tensor: Tensor) -> Any:
        held, size = self, tensor.nbytes

        class Kept:
            def __init__(self) -> None:
                self.tensor = tensor
                held.now += size
                held.most = max(held.most, held.now)

            def __del__(self) -> None:
                held.now -= size

        return Kept()

    def most_of(self, step: Callable[[], Any]) -> int:
        self.now = self.most = 0
        with torch.autograd.graph.saved_tensors_hooks(self.pack, lambda kept: kept.tensor):
            step()
        gc.collect()
        return self.most


def test_split_is_two_forwards_in_the_memory_of_one_and_the_same_slopes() -> None:
    module, batch = network(), batch_of(256)
    joint, split = (SelfCorrection(base(), t_min=0.0, split=each) for each in (False, True))
    wanted, found = (slopes(each(module, batch), module) for each in (joint, split))
    for a, b in zip(wanted, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    held = Held()
    one = held.most_of(lambda: slopes(base()(module, batch), module))
    assert held.most_of(lambda: slopes(joint(module, batch), module)) > 1.9 * one
    assert held.most_of(lambda: slopes(split(module, batch), module)) < 1.1 * one


def test_split_and_joint_agree_under_autocast_and_when_scaled() -> None:
    module, batch = network(), batch_of()
    each = []
    for split in (False, True):
        with torch.autocast("cpu", torch.bfloat16):
            loss = SelfCorrection(base(), split=split)(module, batch)
        each.append(slopes(replace(loss, total=4 * loss.total), module))
    for a, b in zip(*each, strict=True):
        torch.testing.assert_close(a, b, rtol=0.02, atol=2e-3)
        assert a.abs().max() > 0


def test_both_passes_are_told_the_same_conditions() -> None:
    cond = torch.randn(32, 2, generator=torch.Generator().manual_seed(1))
    cond[::3, 0] = torch.nan
    watched = Watched(network(slots=(ConditionSlot(0), ConditionSlot(0))))
    SelfCorrection(base())(watched, batch_of(cond=cond))
    (_, times, first), (_, _, second) = watched.asked
    assert first is cond
    assert second is not None
    assert torch.equal(second.nan_to_num(9), cond[times >= 0.1].nan_to_num(9))


def test_it_is_a_function_of_seed_and_step_and_shares_add_up() -> None:
    module, batch = network(), batch_of(64)
    objective = SelfCorrection(base(), input="mix")
    loss = objective(module, batch).total
    torch.manual_seed(7)
    assert objective(module, batch).total.equal(loss)
    assert objective(module, replace(batch, step=4)).total != loss
    assert SelfCorrection(base(2), input="mix")(module, batch).total != loss
    for sizes in ((32, 32), (1, 63), (64, 0), (20, 30, 14)):
        parts = [
            replace(batch, tokens=batch.tokens[at], rows=batch.rows[at])
            for at in torch.arange(64).split(sizes)
        ]
        total = torch.stack([objective(module, part).total for part in parts]).sum()
        torch.testing.assert_close(total, loss, rtol=1e-5, atol=0)


def test_a_share_of_early_times_alone_has_nothing_to_correct() -> None:
    batch = batch_of(100)
    early = replace(batch, tokens=batch.tokens[:8], rows=batch.rows[:8])
    watched = Watched(network())
    loss = SelfCorrection(base())(watched, early)
    assert len(watched.asked) == 1
    assert loss.parts == {}
    torch.testing.assert_close(loss.total, base()(watched, early).total)


def test_the_later_the_times_the_more_of_the_guess_is_wrong() -> None:
    rates = []
    for t_min in (0.001, 0.1, 0.3, 0.6):
        loss = SelfCorrection(base(), t_min=t_min)(network(), batch_of(2000))
        rates.append(float(loss.parts["correction_errors"]))
    assert rates == sorted(rates)
    assert rates[-1] > 1.1 * rates[0]


def test_the_mean_of_the_term_does_not_depend_on_the_times_of_the_bound() -> None:
    # The same late times, drawn among all times or by themselves.
    module, batch = network(), batch_of(4000)
    among, alone = (
        SelfCorrection(base(t_min=t_min), denoise=0.0, t_min=0.5)(module, batch).total.item()
        for t_min in (0.0, 0.5)
    )
    assert among == pytest.approx(alone, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 0.0, "denoise": 0.0}, "got weight 0.0 and denoise 0.0"),
        ({"weight": -1.0}, "need 0 or more"),
        ({"t_min": 1.0}, "correction.t_min: got 1.0"),
        ({"input": "likely"}, "choose from argmax, sampled, mix"),
        ({"visible": "both"}, "choose from carry_over, raw"),
        ({"errors": "some"}, "choose from plain, weighted"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MoldiffError, match=message):
        SelfCorrection(base(), **options)


def test_uniform_noise_is_refused() -> None:
    with pytest.raises(MoldiffError, match="it trains masked models only"):
        SelfCorrection(DiffusionObjective(Uniform(KINDS), RowRandom(0)))
