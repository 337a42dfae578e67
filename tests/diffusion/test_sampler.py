"""Samplers as machines: what they ask of the network, what stays fixed, and what it costs."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moldiff.diffusion import events
from moldiff.diffusion.categorical import normalise
from moldiff.diffusion.corrector import Corrector
from moldiff.diffusion.ordered import EntropyBound, OrderedSampler, Surest
from moldiff.diffusion.process import Masked, Process, Uniform
from moldiff.diffusion.remasking import (
    DFM,
    Ancestral,
    Cap,
    Confidence,
    ForwardBackward,
    Loop,
    Rates,
    Remasking,
    Rescale,
    Step,
    Switch,
    View,
)
from moldiff.diffusion.sampler import FirstHittingSampler, Sampler
from moldiff.diffusion.walk import Readout, given, null
from moldiff.errors import MoldiffError
from moldiff.nn.cost import count_forwards
from moldiff.types import Rows


def odd(x: Tensor) -> Tensor:
    """Some rows."""
    return x.sum(-1) % 2 == 1


REMASKINGS: list[Remasking] = [
    Ancestral(),
    Cap(0.5),
    Rescale(1.0),
    ForwardBackward(),
    DFM(),
    DFM(adaptive=True),
    Confidence(Cap(1.0), "mean"),
    Switch(Cap(1.0), 0.7),
    Loop.model_time(Confidence(Rescale(1.0), balanced=True)),
]
SAMPLERS: list[Any] = [
    *(Sampler(Masked(3), 8, r) for r in REMASKINGS),
    *(Sampler(Masked(3), 8, r, level="posterior") for r in REMASKINGS),
    *(Sampler(Uniform(3), 8, r) for r in REMASKINGS),
    Sampler(Uniform(3), 8, level="x0"),
    Sampler(Masked(3), 8, Cap(0.5), readout=Readout(0.8, 0.9)),
    Sampler(Masked(3), 8, corrector=Corrector(every=2, corrections=3, final=2)),
    Sampler(Masked(3), 8, Cap(0.5), corrector=Corrector(every=1, top_k=1, draw="predictor")),
    Sampler(Masked(3), 8, corrector=Corrector(every=1, mode="sample", guidance="none")),
    Sampler(Masked(3), 8, Confidence(Cap(1.0)), corrector=Corrector(every=3, gate=True, well_formed=odd)),
    FirstHittingSampler(Masked(3)),
    OrderedSampler(Masked(3), Surest("margin", 1.0)),
    OrderedSampler(Masked(3), Surest("probability")),
    OrderedSampler(Masked(3), Surest("entropy", 0.1)),
    OrderedSampler(Masked(3), EntropyBound(0.5)),
]


class Elementwise(nn.Module):
    """A denoiser made of sums over the row alone, so that its rows cannot touch one another."""

    def __init__(self, tokens: int = 3) -> None:
        super().__init__()
        self.tokens = tokens
        self.times: list[Tensor] = []
        self.seen: list[Tensor] = []
        self.told: list[Tensor] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.times.append(t)
        self.seen.append(x_t.clone())
        if cond is not None:
            self.told.append(cond[:, 0])
        places = torch.arange(x_t.shape[1])
        told = torch.zeros(len(x_t)) if cond is None else cond[:, 0].nan_to_num(0.5)
        mood = (x_t * (places + 1)).sum(-1).float() + t + told
        kinds = torch.arange(self.tokens)
        return normalise((mood[:, None, None] + places[None, :, None] * 0.7 + kinds * 1.3).sin() * 2)


@torch.no_grad()
def both(log_probs: Any, x_t: Tensor, t: Tensor) -> Tensor:
    """A guidance that asks twice in one batch."""
    a, b = log_probs([given, null])
    return normalise(2 * a.clamp(min=-50) - b.clamp(min=-50))


def named(sampler: Any) -> str:
    if isinstance(sampler, FirstHittingSampler):
        return type(sampler).__name__
    if isinstance(sampler, OrderedSampler):
        return str(sampler.order)
    corrector = sampler.corrector and f"-{sampler.corrector.mode}-{sampler.corrector.every}"
    return f"{type(sampler.process).__name__}-{sampler.level}-{sampler.remasking}{corrector or ''}"


@pytest.mark.parametrize("sampler", SAMPLERS, ids=named)
@pytest.mark.parametrize("guidance", [None, both])
def test_a_row_depends_on_seed_and_number_alone(sampler: Any, guidance: Any) -> None:
    ids = torch.arange(100, 140)
    cond = torch.where(ids % 3 == 0, torch.nan, (ids % 5).float())[:, None]

    def run(chosen: Tensor, seed: int = 1) -> Tensor:
        rows = Rows(ids[chosen], 5, cond[chosen])
        tokens: Tensor = sampler(Elementwise(), rows, guidance, seed=seed)
        return tokens

    everyone = torch.arange(40)
    whole = run(everyone)
    assert whole.equal(run(everyone))
    assert whole.flip(0).equal(run(everyone.flip(0)))
    some = torch.tensor([31, 2, 17])
    assert whole[some].equal(run(some))
    assert whole[7:8].equal(run(torch.tensor([7])))
    assert not whole.equal(run(everyone, seed=2))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=named)
def test_no_mask_is_left_and_every_token_is_known(sampler: Any) -> None:
    x = sampler(Elementwise(), Rows(torch.arange(64), 5))
    assert x.shape == (64, 5)
    assert x.dtype == torch.int64
    assert ((x >= 0) & (x < 3)).all()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=named)
def test_frozen_tokens_never_change_not_even_on_the_way(sampler: Any) -> None:
    source = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, (32, 5), generator=source)
    frozen = torch.rand(32, 5, generator=source) < 0.4
    frozen[0], frozen[1] = True, False
    # The condition is the row's number, so that the network's view tells whose row it is.
    net, cond = Elementwise(), torch.arange(32.0)[:, None]
    x = sampler(net, Rows(torch.arange(32), 5, cond, tokens, frozen))
    assert x[frozen].equal(tokens[frozen])
    assert ((x >= 0) & (x < 3)).all()
    assert not x[~frozen].equal(tokens[~frozen])
    for x_t, told in zip(net.seen, net.told, strict=True):
        kept = frozen[told.long()]
        assert x_t[kept].equal(tokens[told.long()][kept])


def test_what_is_given_is_left_as_it_was() -> None:
    tokens, frozen = torch.ones(4, 5, dtype=torch.int64), torch.zeros(4, 5).bool()
    frozen[:, 0] = True
    cond = torch.full((4, 1), torch.nan)
    copies = tokens.clone(), frozen.clone()
    Sampler(Masked(3), 4)(Elementwise(), Rows(torch.arange(4), 5, cond, tokens, frozen), both)
    assert tokens.equal(copies[0])
    assert frozen.equal(copies[1])
    assert cond.isnan().all()


def test_a_frozen_row_costs_nothing() -> None:
    net = Elementwise()
    tokens = torch.ones(2, 5, dtype=torch.int64)
    rows = Rows(torch.arange(2), 5, tokens=tokens, frozen=torch.ones(2, 5).bool())
    for sampler in (Sampler(Masked(3), 6, Cap(1.0)), FirstHittingSampler(Masked(3))):
        with count_forwards(net) as cost:
            assert sampler(net, rows).equal(tokens)
        assert cost.calls == 0


@pytest.mark.parametrize(("steps", "length"), [(8, 5), (32, 32), (128, 32), (4, 20)])
@pytest.mark.parametrize(("guidance", "factor"), [(None, 1), (both, 2)])
def test_forwards_a_row_are_the_steps_in_which_it_changes(
    steps: int, length: int, guidance: Any, factor: int
) -> None:
    # Each position is revealed in one step, evenly: the number of distinct steps among L draws.
    n, net = 400, Elementwise()
    with count_forwards(net) as cost:
        Sampler(Masked(3), steps)(net, Rows(torch.arange(n), length), guidance)
    empty = (1 - 1 / steps) ** length
    two_empty = (1 - 2 / steps) ** length
    mean = steps * (1 - empty)
    variance = steps * empty + steps * (steps - 1) * two_empty - (steps * empty) ** 2
    assert cost.rows / n / factor == pytest.approx(mean, abs=3 * math.sqrt(variance / n))
    assert cost.tokens == cost.rows * length
    assert cost.calls <= steps


class Wary(Remasking):
    """A schedule that claims to need confidence, so that its steps are taken one by one."""

    needs_confidence = True

    def __init__(self, inner: Remasking) -> None:
        self.inner = inner

    def times(self, steps: int) -> list[float]:
        return self.inner.times(steps)

    def rates(self, step: Step, view: View) -> Rates:
        return self.inner.rates(step, view)


@pytest.mark.parametrize("steps", [8, 33])
@pytest.mark.parametrize("remasking", [r for r in REMASKINGS if not r.needs_confidence], ids=str)
def test_a_walk_drawn_ahead_is_the_walk_taken_step_by_step(remasking: Remasking, steps: int) -> None:
    source = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, (60, 5), generator=source)
    frozen = torch.rand(60, 5, generator=source) < 0.3
    rows = Rows(torch.arange(60), 5, tokens=tokens, frozen=frozen)
    ahead, stepwise = Elementwise(), Elementwise()
    with count_forwards(ahead) as few, count_forwards(stepwise) as many:
        x = Sampler(Masked(3), steps, remasking)(ahead, rows, both, seed=4)
        y = Sampler(Masked(3), steps, Wary(remasking))(stepwise, rows, both, seed=4)
    assert x.equal(y)
    assert few.rows == many.rows
    assert few.calls <= many.calls
    # The same rows are asked about at the same times, in another order.
    views = [
        torch.cat([torch.cat(n.seen).double(), torch.cat(n.times)[:, None].double()], 1)
        for n in (ahead, stepwise)
    ]
    assert sorted(views[0].tolist()) == sorted(views[1].tolist())


def test_calls_do_not_grow_with_the_steps() -> None:
    for steps in (20, 2000):
        net = Elementwise()
        with count_forwards(net) as cost:
            Sampler(Masked(3), steps)(net, Rows(torch.arange(200), 5))
        assert cost.calls <= 5


def test_blocks_of_random_numbers_leave_no_seam(monkeypatch: Any) -> None:
    sampler, rows = Sampler(Masked(3), 30, Cap(0.3)), Rows(torch.arange(20), 5)
    whole = sampler(Elementwise(), rows)
    for block in (1, 100, 700):
        monkeypatch.setattr(events, "BLOCK", block)
        assert sampler(Elementwise(), rows).equal(whole)


@pytest.mark.parametrize("remasking", [Cap(0.3), Confidence(Cap(1.0), "mean")], ids=str)
def test_a_network_is_told_the_time_of_the_step_in_which_its_row_changes(
    remasking: Remasking,
) -> None:
    net = Elementwise()
    cond = torch.arange(50.0)[:, None]
    Sampler(Masked(3), 16, remasking)(net, Rows(torch.arange(50), 6, cond))
    grid = torch.arange(1, 17) / 16
    assert torch.isin(torch.cat(net.times), grid).all()
    last = torch.full((50,), 2.0)
    for t, told in zip(net.times, net.told, strict=True):
        assert (t < last[told.long()]).all()
        last[told.long()] = t


def test_the_network_is_asked_only_about_rows_that_reveal_something() -> None:
    net, n = Elementwise(), 64
    Sampler(Masked(3), 50)(net, Rows(torch.arange(n), 4))
    asked = sum(len(x) for x in net.seen)
    assert n * 3 < asked <= n * 4
    assert all((x == 3).any(-1).all() for x in net.seen)


@pytest.mark.parametrize("level", [None, "posterior"])
def test_other_paths_run_every_row_in_every_step(level: Any) -> None:
    for process in (Uniform(3), Masked(3)):
        sampler = Sampler(process, 7, level=level)
        if level is None and process.events_first:
            continue
        net = Elementwise()
        with count_forwards(net) as cost:
            sampler(net, Rows(torch.arange(10), 4))
        assert (cost.calls, cost.rows) == (7, 70)


def test_first_hitting_costs_one_forward_a_generated_token() -> None:
    net = Elementwise()
    frozen = torch.zeros(12, 6).bool()
    frozen[:4, :2] = True
    frozen[4] = True
    rows = Rows(torch.arange(12), 6, tokens=torch.zeros(12, 6).long(), frozen=frozen)
    for guidance, factor in ((None, 1), (both, 2)):
        with count_forwards(net) as cost:
            FirstHittingSampler(Masked(3))(net, rows, guidance)
        assert cost.rows == factor * int((~frozen).sum())
    assert all((x == 3).any(-1).all() for x in net.seen)


def test_plain_masks_once_revealed_stay() -> None:
    # Rows that are asked about are seen in order: a later view of a row keeps what was visible.
    net = Elementwise()
    final = Sampler(Masked(3), 9)(net, Rows(torch.arange(1), 6))
    for before, after in zip(net.seen, [*net.seen[1:], final], strict=True):
        visible = before < 3
        assert after[visible].equal(before[visible])
        assert (after[~visible] < 3).any()


def test_remasking_gives_tokens_back() -> None:
    net = Elementwise()
    with count_forwards(net) as cost:
        Sampler(Masked(3), 8, Rescale(1.0))(net, Rows(torch.arange(100), 5))
    with count_forwards(net) as plain:
        Sampler(Masked(3), 8)(net, Rows(torch.arange(100), 5))
    assert cost.rows > 1.2 * plain.rows


@pytest.mark.parametrize("eta", [Cap(0.0), Rescale(0.0), Switch(Cap(0.9), 0.0)], ids=str)
def test_nothing_to_give_back_is_the_plain_sampler_bitwise(eta: Remasking) -> None:
    rows = Rows(torch.arange(50), 5)
    plain = Sampler(Masked(3), 8)(Elementwise(), rows)
    assert Sampler(Masked(3), 8, eta)(Elementwise(), rows).equal(plain)


def test_single_precision_decides_whatever_the_network_runs_in() -> None:
    seen: list[torch.dtype] = []

    def watch(log_probs: Callable[..., list[Tensor]], x_t: Tensor, t: Tensor) -> Tensor:
        (out,) = log_probs([given])
        seen.append(out.dtype)
        return out

    def coarse(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        out: Tensor = Elementwise()(x_t, t, cond).bfloat16()
        return out

    for process in (Masked(3), Uniform(3)):
        x = Sampler(process, 4)(coarse, Rows(torch.arange(5), 4), watch)
        assert x.max() < 3
    assert set(seen) == {torch.float32}


def test_a_model_without_conditions_is_asked_without_them() -> None:
    told: list[Tensor | None] = []

    def spy(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        told.append(cond)
        return torch.zeros(*x_t.shape, 3).log_softmax(-1)

    Sampler(Masked(3), 3)(spy, Rows(torch.arange(3), 4), both)
    assert told
    assert set(told) == {None}
    assert null(None) is None


def test_null_hides_every_slot_of_a_copy() -> None:
    cond = torch.tensor([[1.0, 2.0]])
    hidden = null(cond)
    assert hidden is not None
    assert hidden.isnan().all()
    assert cond.tolist() == [[1.0, 2.0]]
    assert given(cond) is cond


@pytest.mark.parametrize("process", [Masked(3), Uniform(3)], ids=str)
def test_no_gradient_is_kept(process: Process) -> None:
    weight = torch.zeros(3, requires_grad=True)

    def denoiser(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return weight.log_softmax(-1).expand(*x_t.shape, 3)

    assert not Sampler(process, 2)(denoiser, Rows(torch.arange(2), 2)).requires_grad


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Sampler(Masked(3), 0), "steps"),
        (lambda: Sampler(Masked(3), 4, level="x1"), "x0, posterior"),  # type: ignore[arg-type]
        (lambda: Readout(temperature=0.0), "temperature"),
        (lambda: Readout(top_p=0.0), "top_p"),
        (lambda: Readout(rule="some"), "nucleus rule"),  # type: ignore[arg-type]
        (lambda: FirstHittingSampler(Uniform(3)), "masks"),
    ],
)
def test_wrong_options_are_refused_before_any_work(wrong: Any, says: str) -> None:
    with pytest.raises(MoldiffError, match=says):
        wrong()
