"""Self-correction in sampling: when it happens, what it may change, and what a row costs."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moldiff.diffusion.categorical import normalise
from moldiff.diffusion.corrector import Corrector
from moldiff.diffusion.process import Masked, Uniform
from moldiff.diffusion.remasking import Remasking
from moldiff.diffusion.sampler import Sampler
from moldiff.diffusion.walk import Readout, given, null
from moldiff.errors import MoldiffError
from moldiff.nn.cost import count_forwards
from moldiff.types import LogProbs, Rows

KINDS, LENGTH, STEPS = 4, 6, 12
MASK = KINDS
ROWS = 24


class Opinion(nn.Module):
    """A denoiser with strong views on each position by what stands beside it; it likes what is there."""

    def __init__(self, likes: float = 1.5) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(0)
        self.views = torch.randn(LENGTH, KINDS + 1, KINDS + 1, KINDS, generator=source) * 2
        self.likes, self.places = likes, torch.arange(LENGTH)
        self.seen: list[Tensor] = []
        self.told: list[Tensor | None] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.seen.append(x_t.clone())
        self.told.append(cond)
        left, right = x_t.roll(1, 1), x_t.roll(-1, 1)
        logits = self.views[self.places, left, right]
        logits = logits + self.likes * nn.functional.one_hot(x_t, KINDS + 1)[..., :KINDS]
        if cond is not None:
            logits = logits + cond.nan_to_num(0.0)[:, :, None] * torch.arange(KINDS) / 3
        return normalise(logits)


def sharper(log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
    """A guidance that asks twice."""
    a, b = log_probs([given, null])
    return normalise(2 * a - b)


def even(x: Tensor) -> Tensor:
    """Rows whose tokens sum to an even number: what the gate takes for well formed."""
    return x.sum(-1) % 2 == 0


def rows_of(n: int = ROWS, frozen: float = 0.0) -> Rows:
    cond = (torch.arange(n) % 4).float()[:, None]
    source = torch.Generator().manual_seed(3)
    flags = torch.rand(n, LENGTH, generator=source) < frozen
    return Rows(torch.arange(n), LENGTH, cond, torch.randint(KINDS, (n, LENGTH), generator=source), flags)


def sampler_of(remasking: Remasking | None = None, steps: int = STEPS, **options: Any) -> Sampler:
    made = Sampler(Masked(KINDS), steps, readout=Readout(0.9, 0.95), corrector=Corrector(**options))
    return made if remasking is None else replace(made, remasking=remasking)


def test_without_a_moment_it_is_the_plain_sampler_bitwise() -> None:
    rows = rows_of()
    plain = Sampler(Masked(KINDS), STEPS, readout=Readout(0.9, 0.95))
    x = plain(Opinion(), rows, sharper)
    for options in ({"corrections": 0}, {"every": STEPS + 1}, {"every": 1, "start": STEPS + 1}):
        net = Opinion()
        with count_forwards(net) as cost:
            assert sampler_of(**options)(net, rows, sharper).equal(x), options
        with count_forwards(net) as wanted:
            plain(net, rows, sharper)
        assert cost.rows == wanted.rows


@pytest.mark.parametrize(("every", "start"), [(1, 1), (3, 1), (4, 9), (5, 6), (12, 1)])
def test_moments_are_every_so_many_steps_from_the_start_on(every: int, start: int) -> None:
    corrector = Corrector(every=every, start=start)
    at = {number for number in range(STEPS) if corrector.at(number)}
    assert at == {i for i in range(STEPS) if (i + 1) % every == 0 and i + 1 >= start}
    if start == 1:
        assert len(at) == STEPS // every


def test_the_corrector_unmasks_nothing_and_reads_no_mask() -> None:
    net, rows = Opinion(), rows_of(1, frozen=0.0)
    sampler = sampler_of(every=1, corrections=2)
    final = sampler(net, rows)
    masks = [int((x == MASK).sum()) for x in net.seen]
    # Predictions see masks, fewer and fewer; readings see none.
    left = [n for n in masks if n]
    assert left == sorted(left, reverse=True)
    assert 0 in masks
    assert (final < MASK).all()


def test_a_network_that_says_what_it_reads_corrects_nothing() -> None:
    net, rows = Opinion(likes=1000.0), rows_of()
    plain = Sampler(Masked(KINDS), STEPS, readout=Readout(0.9, 0.95))(net, rows)
    assert sampler_of(every=2, corrections=3, draw="predictor", final=3)(net, rows).equal(plain)


class Turning(nn.Module):
    """Proposes the next token of the circle everywhere: a corrector without a fixed point."""

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        nearest = torch.where(x_t == MASK, 0, (x_t + 1) % 2)
        return (nn.functional.one_hot(nearest, KINDS) * 20.0).log_softmax(-1)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_cycle_ends_after_so_many_readings(most: int) -> None:
    net = Turning()
    sampler = Sampler(Masked(KINDS), 1, corrector=Corrector(every=7, final=most))
    with count_forwards(net) as cost:
        x = sampler(net, Rows(torch.arange(9), LENGTH))
    assert cost.rows == 9 * (1 + most)
    assert x.eq(most % 2).all()


def test_a_fixed_point_ends_the_readings_of_its_row_alone() -> None:
    net, rows = Opinion(), rows_of()
    few, many = (sampler_of(every=100, final=most)(Opinion(), rows) for most in (1, 50))
    with count_forwards(net) as cost:
        again = sampler_of(every=100, final=50)(net, rows)
    with count_forwards(net) as plain:
        sampler_of(every=100)(net, rows)
    assert again.equal(many)
    assert not few.equal(many)
    assert (few == many).all(-1).any()
    # Most rows are done after a few; those that go round in a circle take all fifty.
    readings = cost.rows - plain.rows
    assert ROWS < readings < 50 * ROWS


def test_at_most_k_tokens_change_and_only_where_the_network_would_change_them() -> None:
    net, rows = Opinion(), rows_of()
    for k in (1, 2, LENGTH):
        net.seen.clear()
        plain = sampler_of(every=100)(Opinion(), rows)
        x = sampler_of(every=100, final=1, top_k=k)(net, rows)
        proposal = Opinion()(plain, torch.ones(ROWS), rows.cond).argmax(-1)
        assert ((x != plain).sum(-1) <= k).all()
        assert x[x != plain].equal(proposal[x != plain])
        assert ((x != plain).sum(-1) == (proposal != plain).sum(-1).clamp(max=k)).all()
    assert x.equal(sampler_of(every=100, final=1)(Opinion(), rows))


def test_a_row_without_a_token_of_its_own_is_not_corrected() -> None:
    # One step reveals all: before it there is nothing to rewrite, but for what was given.
    sampler = sampler_of(every=1, corrections=3, steps=1)
    net, rows = Opinion(), rows_of(frozen=0.3)
    with count_forwards(net) as cost:
        x = sampler(net, rows)
    assert cost.rows == ROWS
    assert x.equal(Sampler(Masked(KINDS), 1, readout=Readout(0.9, 0.95))(net, rows))


def test_a_row_is_looked_at_again_only_when_it_has_changed() -> None:
    # However many moments there are, a row of L tokens changes L times when nothing is given back.
    costs = {}
    for steps in (60, 300):
        net = Opinion(likes=6.0)
        with count_forwards(net) as cost:
            sampler_of(every=1, corrections=2, steps=steps)(net, rows_of())
        costs[steps] = cost.rows / ROWS
    # A reveal: the prediction, two readings; and after it, of the new row, the same once more at most, twice
    # where the correction changed something.
    assert costs[300] <= LENGTH * 9
    assert costs[300] < 1.5 * costs[60]


@pytest.mark.parametrize("guidance", ["full", "none"])
def test_the_scale_counts_at_corrected_moments_as_asked(guidance: str) -> None:
    def scaled(scale: float) -> Callable[..., Tensor]:
        def guide(log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
            a, b = log_probs([given, null])
            return normalise(scale * a + (1 - scale) * b)

        return guide

    rows = rows_of()
    start = sampler_of(every=1, corrections=2, guidance=guidance)
    found = {}
    for scale in (0.0, 4.0):
        net = Opinion()
        found[scale] = start(net, rows, scaled(scale))
    assert not found[0.0].equal(found[4.0])
    # After the first token of a row, a corrector without guidance is the same whatever the scale.
    for scale in (0.0, 4.0):
        net = Opinion()
        start(net, rows, scaled(scale))
        readings = [(x, told) for x, told in zip(net.seen, net.told, strict=True) if (x < MASK).any(-1).all()]
        # Asked twice, with and without the condition, or once.
        halves = [len(x) % 2 == 0 and x[: len(x) // 2].equal(x[len(x) // 2 :]) for x, _ in readings]
        assert any(halves) if guidance == "full" else not all(halves)


def test_guidance_at_a_scale_of_one_or_none_is_the_conditional_law() -> None:
    rows = rows_of()
    for guided in ("full", "none"):
        sampler = sampler_of(every=2, corrections=2, guidance=guided, final=1)
        alone = sampler(Opinion(), rows, lambda ask, x_t, t: ask([given])[0])
        assert alone.equal(sampler(Opinion(), rows))
    unconditional = sampler_of(every=2)(Opinion(), rows, lambda ask, x_t, t: ask([null])[0])
    untold = replace(rows, cond=torch.full((ROWS, 1), math.nan))
    assert unconditional.equal(sampler_of(every=2)(Opinion(), untold))


class Picky:
    """A guidance of tokens: one token is wanted wherever a token is drawn or rewritten."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []
        self.states: list[Tensor] = []

    def choose(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> tuple[Tensor, Any]:
        (log_p,) = log_probs([given])
        self.states.append(x_t)

        def at(flags: Tensor) -> Tensor:
            self.asked.append(flags)
            bonus = torch.zeros(KINDS)
            bonus[2] = 30.0
            return normalise(log_p[flags] + bonus)

        return log_p, at

    def __call__(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
        log_p, at = self.choose(log_probs, x_t, t)
        return at(torch.ones_like(x_t, dtype=torch.bool)).view(log_p.shape)


def test_a_guidance_of_tokens_is_asked_only_where_one_may_change() -> None:
    guidance, rows = Picky(), rows_of()
    x = sampler_of(every=3, corrections=2, final=2)(Opinion(), rows, guidance)
    assert x.eq(2).all()
    wanted = sum(int(flags.sum()) for flags in guidance.asked)
    positions = sum(state.numel() for state in guidance.states)
    assert wanted < positions / 2
    # It is told rows as they stand, with their masks.
    assert any((state == MASK).any() for state in guidance.states[-20:])


def test_the_gate_keeps_what_is_well_formed() -> None:
    rows = rows_of(200)
    plain = sampler_of(every=100)(Opinion(), rows)
    free = sampler_of(every=100, final=3)(Opinion(), rows)
    gated = sampler_of(every=100, final=3, gate=True, well_formed=even)(Opinion(), rows)
    spoilt = even(plain) & ~even(free)
    assert spoilt.any()
    assert gated.equal(torch.where(spoilt[:, None], plain, free))
    # Every row that was well formed still is, and rows that were not could only gain.
    assert even(gated)[even(plain)].all()
    assert not even(free)[even(plain)].all()


def test_a_gate_that_cannot_ask_is_refused() -> None:
    with pytest.raises(MoldiffError, match="no check of rows"):
        sampler_of(gate=True)(Opinion(), rows_of())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every of a corrector: got 0, must be 1 or more"),
        ({"corrections": -1}, "corrections of a corrector: got -1"),
        ({"start": 0}, "start of a corrector: got 0"),
        ({"final": -1}, "final of a corrector: got -1"),
        ({"mode": "posterior"}, "choose from argmax, sample"),
        ({"guidance": "some"}, "choose from full, none"),
        ({"draw": "both"}, "choose from corrector, predictor"),
        ({"mode": "sample", "top_k": 2}, "it goes with mode argmax only"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MoldiffError, match=message):
        Corrector(**options)


def test_it_is_for_masks_guided_at_the_clean_tokens() -> None:
    with pytest.raises(MoldiffError, match="masks only"):
        Sampler(Uniform(KINDS), STEPS, corrector=Corrector())
    with pytest.raises(MoldiffError, match="takes x0 only"):
        Sampler(Masked(KINDS), STEPS, level="posterior", corrector=Corrector())
