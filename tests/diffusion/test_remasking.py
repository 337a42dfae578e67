"""Remasking schedules: their chances, their walks, and that no two of them are the same."""

import itertools
import math

import pytest
import torch

from moldiff.diffusion.process import Masked
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
    Uniformly,
    View,
    even_times,
    unmask_rate,
)
from moldiff.diffusion.sampler import Sampler
from moldiff.diffusion.schedule import Cosine
from moldiff.errors import MoldiffError


def step_at(t: float, s: float) -> Step:
    return Step(t, s, 1 - t, 1 - s, Masked(2).max_sigma(1 - t, 1 - s))


def view_of(masked: list[list[int]], visible: list[list[int]], seed: int = 0) -> View:
    flags = torch.tensor(masked).bool(), torch.tensor(visible).bool()
    source = torch.Generator().manual_seed(seed)
    return View(*flags, torch.rand(flags[0].shape, generator=source))


#: Two rows of five: three and one visible; the last token of the second is frozen.
VIEW = view_of([[1, 0, 1, 0, 0], [1, 1, 1, 0, 0]], [[0, 1, 0, 1, 1], [0, 0, 0, 1, 0]])

UNIFORMLY: list[Uniformly] = [
    Ancestral(),
    Cap(0.2),
    Cap(1.0),
    Rescale(0.5),
    Rescale(1.0),
    ForwardBackward(),
    DFM(),
    DFM(scale=0.5),
    DFM(adaptive=True),
]

#: One of each kind, around the same inner schedule where they have one.
KINDS: list[Remasking] = [
    Ancestral(),
    Cap(0.2),
    Rescale(0.2),
    ForwardBackward(),
    DFM(),
    Confidence(Cap(0.2)),
    Confidence(Cap(0.2), normalize="mean"),
    Confidence(Cap(0.2), temperature=0.2),
    Confidence(Cap(0.2), balanced=True),
    Switch(Cap(0.2), 0.4),
    Loop(Cap(0.2), 0.25, 0.5, 0.125),
]


@pytest.mark.parametrize("remasking", UNIFORMLY, ids=str)
def test_sigma_is_legal_on_every_step_and_gone_on_the_last(remasking: Uniformly) -> None:
    for schedule in (Masked(2).schedule, Cosine()):
        steps = Sampler(Masked(2, schedule), 20, remasking).grid()
        for step in steps:
            rates = remasking.rates(step, VIEW)
            assert 0 <= float(rates.remask) <= step.max_sigma <= 1
            assert -1e-12 <= float(rates.unmask) <= 1 + 1e-12
        assert steps[-1].alpha_s == 1.0
        assert rates == Rates(1.0, 0.0)


def test_cap_and_rescale_as_printed() -> None:
    for t, s in itertools.pairwise(even_times(10)):
        step = step_at(t, s)
        top = 1.0 if t == 1 else min(1.0, s / (1 - t))
        assert step.max_sigma == pytest.approx(top)
        assert Cap(0.3).sigma(step) == pytest.approx(min(0.3, top))
        assert Rescale(0.3).sigma(step) == pytest.approx(0.3 * top)
        assert Rescale(1.0).sigma(step) == step.max_sigma == Cap(1.0).sigma(step)
        assert Cap(0.0).sigma(step) == Rescale(0.0).sigma(step) == 0


def test_no_remasking_is_the_plain_sampler_exactly() -> None:
    for remasking in (Cap(0.0), Rescale(0.0), DFM(scale=0.0), Switch(Cap(0.5), 0.0)):
        sampler = Sampler(Masked(2), 7, remasking)
        assert remasking.times(7) == even_times(7)
        for step in sampler.grid():
            # Where alpha_t = 0 nothing is visible, so there sigma says nothing.
            if step.alpha_t > 0:
                assert remasking.rates(step, VIEW) == Ancestral().rates(step, VIEW)


def test_plain_rate_is_the_share_of_noise_that_a_step_removes() -> None:
    assert unmask_rate(step_at(0.5, 0.4), 0.0) == pytest.approx(0.2, abs=1e-12)
    assert unmask_rate(step_at(1.0, 0.9), 0.7) == pytest.approx(0.1, abs=1e-12)
    assert unmask_rate(step_at(0.1, 0.0), 0.0) == 1.0


def test_forward_backward_and_dfm_are_clamped_at_both_ends() -> None:
    first, last = step_at(1.0, 0.9), step_at(0.1, 0.0)
    for remasking in (ForwardBackward(), DFM()):
        assert remasking.sigma(first) == 1.0
        assert remasking.sigma(last) == 0.0
    assert DFM().sigma(step_at(0.5, 0.0 + 0.05)) <= step_at(0.5, 0.05).max_sigma


def test_relative_correctors_do_nothing_where_alpha_stands_still() -> None:
    still = step_at(0.3, 0.3)
    assert ForwardBackward().sigma(still) == DFM().sigma(still) == 0.0


@pytest.mark.parametrize(("steps", "walked"), [(32, 46), (64, 72), (128, 133), (512, 514)])
def test_adaptive_walk_of_dfm_has_the_published_number_of_steps(steps: int, walked: int) -> None:
    times = DFM(adaptive=True).times(steps)
    assert len(times) - 1 == walked
    assert times[0] == 1.0
    assert times[-1] == 0.0
    assert all(t > s for t, s in itertools.pairwise(times))


@pytest.mark.parametrize("steps", [5, 10, 32])
def test_adaptive_walk_without_a_corrector_is_even(steps: int) -> None:
    assert DFM(scale=0.0, adaptive=True).times(steps) == pytest.approx(even_times(steps))


def test_even_times_end_at_zero_exactly() -> None:
    assert even_times(1) == [1.0, 0.0]
    assert even_times(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert all(t > s for t, s in itertools.pairwise(even_times(1000)))


# Confidence.


def test_confidence_shares_sigma_by_the_softmax_of_minus_confidence() -> None:
    step = step_at(0.5, 0.4)
    rates = Confidence(Cap(0.2)).rates(step, VIEW)
    remask = torch.as_tensor(rates.remask)
    visible = VIEW.visible[0]
    share = (-VIEW.confidence[0, visible]).softmax(-1)
    torch.testing.assert_close(remask[0, visible], 0.2 * share)
    assert remask[1].tolist() == pytest.approx([0, 0, 0, 0.2, 0])
    assert remask[~VIEW.visible].eq(0).all()
    assert rates.unmask == unmask_rate(step, 0.0)


def test_confidence_gives_back_the_tokens_that_were_least_sure() -> None:
    remask = torch.as_tensor(Confidence(Cap(0.2), temperature=0.05).rates(step_at(0.5, 0.4), VIEW).remask)
    visible = VIEW.visible[0]
    order = VIEW.confidence[0, visible].argsort()
    assert remask[0, visible].argsort(descending=True).equal(order)


def test_confidence_normalised_by_sum_and_by_mean() -> None:
    step = step_at(0.5, 0.4)
    for row, count in enumerate(VIEW.visible.sum(-1).tolist()):
        total = torch.as_tensor(Confidence(Cap(0.2)).rates(step, VIEW).remask)[row].sum()
        mean = torch.as_tensor(Confidence(Cap(0.2), "mean").rates(step, VIEW).remask)[row].sum()
        assert float(total) == pytest.approx(0.2)
        assert float(mean) == pytest.approx(0.2 * count)


def test_confidence_by_mean_never_exceeds_the_largest_sigma() -> None:
    view = view_of([[1] + [0] * 9], [[0] + [1] * 9])
    view.confidence[0, 1] = -5.0
    remask = Confidence(Rescale(1.0), "mean", temperature=0.1).rates(step_at(0.5, 0.4), view).remask
    assert float(torch.as_tensor(remask).max()) == pytest.approx(step_at(0.5, 0.4).max_sigma)


def test_confidence_does_not_see_masked_tokens_or_other_rows() -> None:
    step, policy = step_at(0.5, 0.4), Confidence(Cap(0.2))
    remask = torch.as_tensor(policy.rates(step, VIEW).remask)
    wider = View(
        *(
            torch.cat([f, g], 1)
            for f, g in (
                (VIEW.masked, torch.ones(2, 3).bool()),
                (VIEW.visible, torch.zeros(2, 3).bool()),
                (VIEW.confidence, torch.rand(2, 3)),
            )
        )
    )
    torch.testing.assert_close(torch.as_tensor(policy.rates(step, wider).remask)[:, :5], remask)
    turned = View(VIEW.masked.flip(0), VIEW.visible.flip(0), VIEW.confidence.flip(0))
    assert torch.as_tensor(policy.rates(step, turned).remask).equal(remask.flip(0))


@pytest.mark.parametrize("normalize", ["sum", "mean"])
@pytest.mark.parametrize("balanced", [False, True])
def test_confidence_of_a_row_without_visible_tokens_is_zero(normalize: str, balanced: bool) -> None:
    # Frozen tokens are in neither set, so a row with a prompt alone has nothing to give back.
    view = view_of([[1, 1, 1], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [0, 0, 0]])
    policy = Confidence(Cap(0.5), normalize, balanced=balanced)  # type: ignore[arg-type]
    rates = policy.rates(step_at(0.5, 0.4), view)
    assert torch.as_tensor(rates.remask).eq(0).all()
    plain = torch.full((), unmask_rate(step_at(0.5, 0.4), 0.0))
    unmask = torch.as_tensor(rates.unmask, dtype=torch.float32)
    torch.testing.assert_close(unmask, plain.expand(unmask.shape))


@pytest.mark.parametrize("normalize", ["sum", "mean"])
def test_balanced_confidence_reveals_as_many_more_as_it_gives_back(normalize: str) -> None:
    policy = Confidence(Cap(0.1), normalize, balanced=True)  # type: ignore[arg-type]
    step = step_at(0.5, 0.4)
    rates = policy.rates(step, VIEW)
    masked = VIEW.masked.sum(-1)
    unmask = torch.as_tensor(rates.unmask)
    extra = unmask[:, 0] * masked - unmask_rate(step, 0.0) * masked
    torch.testing.assert_close(extra, torch.as_tensor(rates.remask).sum(-1))


def test_balanced_confidence_stays_a_chance() -> None:
    view = view_of([[1] + [0] * 5], [[0] + [1] * 5])
    rates = Confidence(Rescale(1.0), "mean", balanced=True).rates(step_at(0.5, 0.4), view)
    assert torch.as_tensor(rates.unmask).tolist() == [[1.0]]


# Switch and loop.


@pytest.mark.parametrize("inner", [*UNIFORMLY, Confidence(Cap(0.2))], ids=str)
def test_switch_from_the_start_is_the_inner_schedule_and_at_the_end_is_none(inner: Remasking) -> None:
    for step in Sampler(Masked(2), 9, inner).grid():
        on, off = Switch(inner, 1.0).rates(step, VIEW), Switch(inner, 0.0).rates(step, VIEW)
        want = inner.rates(step, VIEW)
        assert torch.as_tensor(on.remask).equal(torch.as_tensor(want.remask))
        assert torch.as_tensor(on.unmask).equal(torch.as_tensor(want.unmask))
        assert off == Ancestral().rates(step, VIEW)
    assert Switch(inner, 0.5).times(9) == inner.times(9)


def test_switch_turns_on_at_its_time() -> None:
    policy = Switch(Cap(0.2), 0.5)
    assert policy.rates(step_at(0.5, 0.4), VIEW).remask == 0.2
    assert policy.rates(step_at(0.6, 0.5), VIEW).remask == 0.0


@pytest.mark.parametrize(
    ("loop", "steps", "phases", "held"),
    [
        (Loop.wall_clock(Cap(0.02)), 1024, (461, 512, 51), 0.9),
        (Loop.wall_clock(Cap(0.02)), 128, (58, 64, 6), 0.9),
        (Loop.model_time(Rescale(0.9)), 128, (64, 48, 16), 0.75),
        (Loop.model_time(Rescale(0.9)), 64, (32, 24, 8), 0.75),
        (Loop.model_time(Rescale(0.9)), 32, (16, 12, 4), 0.75),
        (Loop.wall_clock(Cap(0.02), on=0.5, off=0.125, alpha_on=0.75), 128, (64, 48, 16), 0.75),
    ],
)
def test_loop_in_both_spellings(loop: Loop, steps: int, phases: tuple[int, int, int], held: float) -> None:
    n_1, n_2, n_3 = loop.phases(steps)
    assert (n_1, n_2, n_3) == phases
    assert n_1 + n_2 + n_3 == steps
    grid = Sampler(Masked(2), steps, loop).grid()
    assert len(grid) == steps
    assert (grid[0].t, grid[-1].s) == (1.0, 0.0)
    for number, step in enumerate(grid):
        middle = n_1 <= number < n_1 + n_2
        sigma = float(loop.rates(step, VIEW).remask)
        assert (step.alpha_s == step.alpha_t) == middle
        assert (sigma > 0) == middle
        if middle:
            assert step.alpha_t == pytest.approx(held, abs=1e-12)
            assert sigma <= step.max_sigma
        else:
            # Each outer phase walks evenly, and no step overshoots the held level.
            size = (1 - loop.time_on) / n_1 if number < n_1 else loop.time_on / n_3
            assert step.t - step.s == pytest.approx(size, abs=1e-12)


@pytest.mark.parametrize("loop", [Loop.wall_clock(Cap(0.02)), Loop.model_time(Cap(0.02))])
def test_loop_with_too_few_steps_says_how_many_are_enough(loop: Loop) -> None:
    with pytest.raises(MoldiffError, match=r"got 1, too few .* ask for \d+ or more") as refused:
        loop.phases(1)
    enough = int(str(refused.value).split()[-3])
    for steps in range(1, enough):
        with pytest.raises(MoldiffError, match=f"got {steps}, .* ask for {enough} or more"):
            loop.phases(steps)
    for steps in range(enough, 300):
        assert min(loop.phases(steps)[::2]) >= 1


def test_loop_holds_a_level_of_alpha_on_any_schedule() -> None:
    loop = Loop.wall_clock(Cap(0.02), alpha_on=0.9, schedule=Cosine())
    grid = Sampler(Masked(2, Cosine()), 100, loop).grid()
    assert grid[60].alpha_t == pytest.approx(0.9, abs=1e-9)


def test_loop_with_sigma_alone_keeps_its_level() -> None:
    step = step_at(0.25, 0.25)
    rates = Loop.model_time(Cap(0.2)).rates(step, VIEW)
    assert rates.remask == 0.2
    assert rates.unmask == pytest.approx(0.2 * 0.75 / 0.25)


def test_literal_confidence_in_a_loop_only_masks_and_balanced_also_reveals() -> None:
    step = step_at(0.25, 0.25)
    sigma = Rescale(0.9).sigma(step)
    assert sigma == pytest.approx(0.9 * 0.25 / 0.75)
    literal = Loop.model_time(Confidence(Rescale(0.9))).rates(step, VIEW)
    assert literal.unmask == 0
    assert torch.as_tensor(literal.remask).sum(-1).tolist() == pytest.approx([sigma, sigma])
    even = Loop.model_time(Confidence(Rescale(0.9), balanced=True)).rates(step, VIEW)
    assert torch.as_tensor(even.remask).equal(torch.as_tensor(literal.remask))
    revealed = (torch.as_tensor(even.unmask) * VIEW.masked).sum(-1)
    assert revealed.tolist() == pytest.approx([sigma, sigma])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_loop_refuses_too_few_steps(steps: int) -> None:
    with pytest.raises(MoldiffError, match="too few"):
        Loop.model_time(Cap(0.1)).times(steps)
    with pytest.raises(MoldiffError, match="too few"):
        Sampler(Masked(2), steps, Loop.model_time(Cap(0.1)))


@pytest.mark.parametrize("first", KINDS, ids=str)
def test_every_kind_differs_somewhere_from_every_other(first: Remasking) -> None:
    states = [step_at(t, s) for t, s in ((0.9, 0.8), (0.5, 0.4), (0.3, 0.2), (0.3, 0.3), (0.1, 0.0))]

    def chances(policy: Remasking, step: Step) -> torch.Tensor:
        rates = policy.rates(step, VIEW)
        both = (torch.as_tensor(rates.unmask), torch.as_tensor(rates.remask))
        return torch.stack([r.double().expand(2, 5) for r in both])

    def differ(a: Remasking, b: Remasking, step: Step) -> bool:
        return not torch.allclose(chances(a, step), chances(b, step), rtol=0, atol=1e-6)

    others = [k for k in KINDS if k is not first]
    assert all(any(differ(first, other, step) for step in states) for other in others)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Cap(-0.1),
        lambda: Cap(1.1),
        lambda: Rescale(math.nan),
        lambda: DFM(-1.0),
        lambda: DFM(math.inf),
        lambda: Confidence(Cap(0.1), temperature=0.0),
        lambda: Confidence(Cap(0.1), normalize="median"),  # type: ignore[arg-type]
        lambda: Switch(Cap(0.1), 1.5),
        lambda: Loop(Cap(0.1), 1.0, 0.5, 0.1),
        lambda: Loop(Cap(0.1), 0.2, 0.0, 0.1),
        lambda: Loop(Cap(0.1), 0.2, 0.6, 0.5),
        lambda: Loop.wall_clock(Cap(0.1), on=0.1, off=0.2),
        lambda: even_times(0),
        lambda: Ancestral().times(-3),
        lambda: DFM(adaptive=True).times(0),
    ],
)
def test_wrong_options_are_refused(wrong: object) -> None:
    with pytest.raises(MoldiffError, match="got"):
        wrong()  # type: ignore[operator]
