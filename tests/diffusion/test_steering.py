"""Search on top of a sampler: the laws that come out, on toys that can be enumerated."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.ordered import EntropyBound, OrderedSampler, Surest
from moldiff.diffusion.process import Masked
from moldiff.diffusion.random import RowRandom
from moldiff.diffusion.remasking import Ancestral, Cap, Confidence, Rescale
from moldiff.diffusion.sampler import FirstHittingSampler, Sampler
from moldiff.diffusion.steering import BestOf, Found, Particles, _Herd, spread, steerable
from moldiff.errors import MoldiffError
from moldiff.nn.cost import count_forwards
from moldiff.types import Pause, Rows

GROUPS, TILT = 6000, 1.5
#: The reward of each of the nine rows of ``pair``.
REWARDS = torch.tensor([0.1, 1.2, -0.7, 0.0, 2.0, 0.4, -1.5, 0.9, -0.2], dtype=torch.float64)

#: Samplers of masks, and one of uniform noise and one guided at the next state, for ``toy``.
SAMPLERS: dict[str, Callable[[Any], Any]] = {
    "ancestral": lambda toy: Sampler(toy.masked(), 4, Ancestral()),
    "remdm": lambda toy: Sampler(toy.masked(), 4, Cap(0.2)),
    "confidence": lambda toy: Sampler(toy.masked(), 4, Confidence(Rescale(0.5))),
    "posterior": lambda toy: Sampler(toy.masked(), 4, Ancestral(), "posterior"),
    "uniform": lambda toy: Sampler(toy.uniform(), 4, Ancestral()),
    "first-hitting": lambda toy: FirstHittingSampler(toy.masked()),
    "margin": lambda toy: OrderedSampler(toy.masked(), Surest("margin", 0.3)),
    "entropy-bound": lambda toy: OrderedSampler(toy.masked(), EntropyBound(0.3)),
}


def reward_of(toy: Any, rewards: Tensor = REWARDS) -> Callable[[Tensor], Tensor]:
    return lambda x: rewards[toy.code(x, toy.tokens)]


def noted(found: list[Found]) -> Callable[[Found], None]:
    return found.append


def run(search: Any, toy: Any, rows: int = GROUPS, seed: int = 0) -> Tensor:
    process = search.sampler.process
    out: Tensor = search(toy.denoiser(process), Rows(torch.arange(rows), toy.length), seed=seed)
    return out


def plain(sampler: Any, toy: Any, rows: Rows, seed: int = 0) -> Tensor:
    out: Tensor = sampler(toy.denoiser(sampler.process), rows, seed=seed)
    return out


def tilted(law: Tensor, rewards: Tensor, tilt: float) -> Tensor:
    weight = law * (tilt * rewards).exp()
    return weight / weight.sum()


@pytest.mark.parametrize("name", SAMPLERS)
def test_who_only_looks_on_changes_nothing(name: str, triple: Any) -> None:
    sampler, seen = SAMPLERS[name](triple), []

    def look(pause: Pause) -> None:
        seen.append(pause.number)
        assert pause.x_t.shape == (40, 3)
        drawn = pause.complete(5)
        assert drawn.shape == (5, 40, 3)
        assert (drawn < 3).all()
        if sampler.process.events_first:
            kept = pause.x_t < 3
            assert (drawn[:, kept] == pause.x_t[kept]).all()

    rows, denoiser = Rows(torch.arange(40), 3), triple.denoiser(sampler.process)
    assert sampler(denoiser, rows, steer=look).equal(sampler(denoiser, rows))
    assert seen[0] == 1
    assert seen == list(range(1, len(seen) + 1))


@pytest.mark.parametrize("name", SAMPLERS)
def test_completions_have_the_law_of_the_prediction(name: str, triple: Any) -> None:
    """What one token is left to is drawn as the data would have it, whatever the other two are."""
    sampler, found = SAMPLERS[name](triple), []

    def look(pause: Pause) -> None:
        found.append((pause.x_t.clone(), pause.complete(4)))

    frozen = torch.tensor([[True, False, False]]).repeat(4000, 1)
    rows = Rows(torch.arange(4000), 3, tokens=torch.full((4000, 3), 1), frozen=frozen)
    sampler(triple.denoiser(sampler.process), rows, steer=look)
    if not sampler.process.events_first:
        assert all((drawn[..., 0] == 1).all() for _, drawn in found)
        return
    seen = 0
    for x_t, drawn in found:
        assert (drawn[..., 0] == 1).all()
        for place, value in product((1, 2), range(3)):
            open_ = (x_t[:, place] == value) & (x_t[:, 3 - place] == 3)
            if open_.sum() > 100:
                seen += 1
                fits = (triple.clean[:, 0] == 1) & (triple.clean[:, place] == value)
                law = triple.law.masked_fill(~fits, 0)
                assert triple.misfit(drawn[:, open_].flatten(0, 1), law / law.sum()) > 1e-4
    assert seen


@pytest.mark.parametrize("name", SAMPLERS)
def test_without_tilt_particles_are_independent_samples(name: str, pair: Any) -> None:
    sampler, found = SAMPLERS[name](pair), []
    search = Particles(sampler, reward_of(pair), 3, 0.0, threshold=1.0, control=False, told=noted(found))
    kept = run(search, pair, 300)
    alone = plain(sampler, pair, spread(Rows(torch.arange(300), 2), 3))
    assert found[0].rewards.flatten().equal(reward_of(pair)(alone))
    assert found[0].log_w.abs().max() < 1e-12
    assert found[0].kept.unique().numel() == 3
    assert kept.equal(alone.view(300, 3, 2)[torch.arange(300), found[0].kept])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threshold": 1.0},
        {"threshold": 0.0},
        {"potential": "difference", "threshold": 1.0},
        {"potential": "max", "threshold": 1.0},
        {"potential": "sum", "threshold": 1.0, "resampling": "stratified"},
        {"control": False, "threshold": 1.0},
        {"control": False, "threshold": 0.7, "draws": 1, "floor": -0.3},
    ],
    ids=str,
)
def test_weights_are_those_of_the_tilted_law(options: Any, pair: Any) -> None:
    """On average sum_i w_i f(x_i) / K is E[exp(tilt r) f] for every f, however few particles there are.

    The first of the rows has no reward, so that floors are tried as well.
    """
    rewards = REWARDS.clone()
    rewards[0] = math.nan
    sampler, found = FirstHittingSampler(pair.masked()), []
    for seed in range(2):
        run(
            Particles(sampler, reward_of(pair, rewards), 3, TILT, looks=1, told=noted(found), **options),
            pair,
            seed=seed,
        )
    floor = options.get("floor", -math.inf)
    weight = (TILT * rewards.nan_to_num(nan=floor)).exp()
    check_weights(pair, pair.law * weight, rewards, found)


#: The laws of the others are not known in closed form.
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in ("confidence", "entropy-bound")])
def test_that_holds_on_top_of_any_sampler(name: str, pair: Any) -> None:
    sampler, found = SAMPLERS[name](pair), []
    run(Particles(sampler, reward_of(pair), 3, TILT, looks=3, threshold=1.0, told=noted(found)), pair)
    law = pair.law
    if isinstance(sampler, Sampler):
        law = pair.on_data(sampler.process, pair.chain(sampler.process, sampler.remasking, 4)[-1])
    check_weights(pair, law * (TILT * REWARDS).exp(), REWARDS, found)


def check_weights(pair: Any, wanted: Tensor, rewards: Tensor, found: list[Found]) -> None:
    """Each row's mean weight is ``wanted`` (K^L,), within 4.5 standard errors, and so is the mean of all."""
    # Rewards are distinct, so a particle's reward says which row it is.
    order = rewards.nan_to_num(nan=-9.0)
    all_rewards = torch.cat([each.rewards for each in found]).nan_to_num(nan=-9.0)
    weights = torch.cat([each.log_w for each in found if each.log_w is not None]).exp()
    hits = all_rewards[..., None] == order
    each = (weights[..., None] * hits).mean(1)
    mean, se = each.mean(0), each.std(0) / math.sqrt(len(each))
    # Weights of what is rare have tails that so many groups do not show.
    common = pair.law > 0.02
    assert ((mean - wanted).abs() <= 4.5 * se + 1e-12)[common].all()
    total = weights.mean(1)
    assert abs(float(total.mean() - wanted.sum())) < 4.5 * float(total.std()) / math.sqrt(len(total))
    # The bound is one that a dropped weight would break.
    assert float(total.std()) / math.sqrt(len(total)) < 0.02 * float(wanted.sum())


@pytest.mark.parametrize("lacks", [[1], [0, 1], []], ids=str)
def test_completions_without_reward_are_left_out(lacks: list[int], pair: Any) -> None:
    """Of two particles at token 0 and at token 2: values of their known completions, the other's, or none."""
    sampler = FirstHittingSampler(pair.masked())
    found: list[Tensor] = []

    def reward(x: Tensor) -> Tensor:
        found.append(x)
        out = x[:, 0].double() + x[:, 1] / 10
        out[torch.isin(x[:, 1], torch.tensor(lacks))] = math.nan
        return out

    herd = _Herd(
        Particles(sampler, reward, 2, 1.0, control=False, threshold=0.0), torch.arange(1), RowRandom(0)
    )
    drawn = torch.tensor([[[0, 0], [2, 1]], [[0, 2], [2, 1]]])
    herd.look(Pause(1, 2, drawn[0], lambda draws: drawn))
    means = {
        "[1]": [math.log((1 + math.exp(0.2)) / 2)] * 2,  # the second has none, and counts as the first
        "[0, 1]": [0.2, 0.2],
        "[]": [math.log((1 + math.exp(0.2)) / 2), 2.1],
    }[str(lacks)]
    assert herd.log_w[0].tolist() == pytest.approx([value / 2 for value in means])


def test_the_tilted_law_comes_out_as_particles_grow(pair: Any) -> None:
    sampler = Sampler(pair.masked(), 4, Ancestral())
    law = pair.on_data(sampler.process, pair.chain(sampler.process, Ancestral(), 4)[-1])
    wanted = tilted(law, REWARDS, TILT)
    many = run(Particles(sampler, reward_of(pair), 64, TILT, looks=2), pair, 2000)
    assert pair.misfit(many, wanted) > 1e-3
    assert pair.misfit(many, law) < 1e-6
    one = run(Particles(sampler, reward_of(pair), 1, TILT, looks=2), pair, 2000)
    assert pair.misfit(one, law) > 1e-3


def test_steering_beats_drawing_at_the_end_where_looks_tell_much(sticky: Any) -> None:
    """The effective number of particles in the end is larger with looks than without."""

    def ones(x: Tensor) -> Tensor:
        return x.sum(-1).double()

    sizes = []
    for looks in (0, 3):
        found: list[Found] = []
        run(
            Particles(FirstHittingSampler(sticky.masked()), ones, 16, 2.0, looks=looks, told=noted(found)),
            sticky,
            300,
        )
        sizes.append(float(found[0].rewards.mean()))
    assert sizes[1] > sizes[0] + 0.5


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_first_particle_is_the_ordinary_sample(name: str, pair: Any) -> None:
    sampler = SAMPLERS[name](pair)
    ordinary = reward_of(pair)(plain(sampler, pair, Rows(torch.arange(200), 2)))
    for search in (
        BestOf(sampler, reward_of(pair), 3, noted(found := [])),
        Particles(sampler, reward_of(pair), 3, 4.0, looks=3, threshold=1.0, told=noted(found)),
    ):
        run(search, pair, 200)
        assert found[-1].rewards[:, 0].equal(ordinary)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_row_does_not_depend_on_those_beside_it(name: str, triple: Any) -> None:
    sampler = SAMPLERS[name](triple)

    def reward(x: Tensor) -> Tensor:
        return (x * torch.tensor([1, 2, 4])).sum(-1).double() / 3

    for search in (
        BestOf(sampler, reward, 4),
        Particles(sampler, reward, 4, 3.0, threshold=1.0, control=False),
    ):
        denoiser = triple.denoiser(sampler.process)
        whole = search(denoiser, Rows(torch.arange(12), 3), seed=5)
        alone = torch.cat([search(denoiser, Rows(torch.tensor([i]), 3), seed=5) for i in range(12)])
        assert whole.equal(alone)
        assert not whole.equal(search(denoiser, Rows(torch.arange(12), 3), seed=6))


def test_the_best_is_kept(pair: Any) -> None:
    found: list[Found] = []
    sampler = FirstHittingSampler(pair.masked())
    kept = run(BestOf(sampler, reward_of(pair), 5, noted(found)), pair, 400)
    assert reward_of(pair)(kept).equal(found[0].rewards.amax(-1))
    # The chance that the best of five is at most r is that of one, to the power of five.
    order = REWARDS.argsort()
    below = pair.law[order].cumsum(0) ** 5
    law = torch.zeros(9, dtype=torch.float64)
    law[order] = below.diff(prepend=torch.zeros(1, dtype=torch.float64))
    assert pair.misfit(kept, law) > 1e-3


@pytest.mark.parametrize("keep", ["draw", "best"])
def test_what_has_no_reward_is_kept_only_where_nothing_has_one(keep: Any, pair: Any) -> None:
    some = torch.where(torch.arange(9) % 2 == 0, math.nan, REWARDS)
    sampler = Sampler(pair.masked(), 4, Ancestral())
    for rewards in (some, torch.full((9,), math.nan, dtype=torch.float64)):
        for search in (
            BestOf(sampler, reward_of(pair, rewards), 3, noted(found := [])),
            Particles(sampler, reward_of(pair, rewards), 3, 5.0, keep=keep, told=noted(found)),
        ):
            kept = run(search, pair, 200)
            assert ((kept >= 0) & (kept < 3)).all()
            lacks = reward_of(pair, rewards)(kept).isnan()
            assert lacks.equal(found[-1].rewards.isnan().all(-1))


def test_kept_tokens_and_conditions_go_with_their_rows(triple: Any) -> None:
    """Rows of two groups that were asked different things; what was asked is what the network is told."""
    told = []

    def denoiser(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        assert cond is not None
        told.append((x_t[:, 0], cond[:, 0]))
        return torch.zeros(*x_t.shape, 3).log_softmax(-1)

    tokens = torch.tensor([[0, 0, 0, 0], [2, 0, 0, 0]])
    frozen = torch.tensor([[True, False, False, False]] * 2)
    rows = Rows(torch.arange(2), 4, torch.tensor([[0.0], [2.0]]), tokens, frozen)
    for sampler in (FirstHittingSampler(triple.masked()), Sampler(triple.masked(), 6, Cap(0.3))):
        search = Particles(sampler, lambda x: x.sum(-1).double(), 5, 4.0, threshold=1.0, looks=3)
        kept = search(denoiser, rows, seed=1)
        assert kept[:, 0].tolist() == [0, 2]
    assert all((first == cond).all() for first, cond in told)


def test_looks_cost_a_forward_a_particle(triple: Any) -> None:
    process = triple.masked()
    network, sampler = triple.denoiser(process), FirstHittingSampler(triple.masked())
    costs = []
    for looks in (0, 2):
        search = Particles(sampler, lambda x: x.sum(-1).double(), 4, 1.0, looks=looks)
        with count_forwards(network) as cost:
            search(network, Rows(torch.arange(7), 3))
        costs.append(cost.rows)
    assert costs == [7 * 4 * 3, 7 * 4 * (3 + 2)]


def test_what_cannot_be_is_refused(pair: Any) -> None:
    class Fixed:
        def __call__(self, denoiser: Any, rows: Rows, guidance: Any = None, seed: int = 0) -> Tensor:
            return torch.zeros(len(rows.ids), rows.length, dtype=torch.int64)

    assert not steerable(Fixed())
    assert steerable(FirstHittingSampler(Masked(3)))
    reward = reward_of(pair)
    with pytest.raises(MoldiffError, match="cannot be steered"):
        Particles(Fixed(), reward, 2, 1.0)
    # Nothing to steer: importance resampling of whole samples.
    assert Particles(Fixed(), reward, 2, 1.0, looks=0)(None, Rows(torch.arange(3), 2)).shape == (3, 2)  # type: ignore[arg-type]
    sampler = FirstHittingSampler(pair.masked())
    for bad in (
        {"potential": "product"},
        {"keep": "worst"},
        {"resampling": "residual"},
        {"threshold": 1.5},
        {"looks": -1},
        {"draws": 0},
        {"tilt": math.inf},
    ):
        with pytest.raises(MoldiffError, match=next(iter(bad))):
            Particles(sampler, reward, 2, **{"tilt": 1.0, **bad})  # type: ignore[arg-type]
