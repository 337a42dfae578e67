"""Training by reward: its slope is the policy gradient, and what is worth the same teaches nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moldiff.diffusion.objective import Batch, DiffusionObjective
from moldiff.diffusion.ordered import EntropyBound, Order, OrderedSampler, Surest
from moldiff.diffusion.presets import mdlm, remdm_cap
from moldiff.diffusion.process import Masked, Uniform
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.diffusion.reinforcement import Beginnings, Draw, Passing, Reinforcement, Reward, advantages
from moldiff.diffusion.schedule import Cosine, LogLinear, NoiseSchedule
from moldiff.diffusion.walk import Readout
from moldiff.errors import MoldiffError
from moldiff.nn.transformer import Transformer, TransformerConfig
from moldiff.types import Denoiser, Rows, Steer

KINDS, LENGTH = 3, 2
PROCESS = Masked(KINDS, LogLinear())
#: What each row of two tokens is worth.
TABLE = torch.tensor([[0.0, 1.0, 0.2], [0.7, 0.1, 0.9], [0.4, 0.0, 0.3]])
LOGITS = torch.tensor([[0.5, -0.2, 0.1], [0.0, 0.8, -0.6]])


class Factorised(nn.Module):
    """Tokens that do not depend on one another, so that the bound on a row's -log p is exact."""

    def __init__(self, logits: Tensor = LOGITS) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.logits.log_softmax(-1).expand(len(x_t), *self.logits.shape)


def tabled(tokens: Tensor, cond: Tensor | None) -> tuple[Tensor, dict[str, float]]:
    return TABLE[tokens[:, 0], tokens[:, 1]], {}


def alike(tokens: Tensor, cond: Tensor | None) -> tuple[Tensor, dict[str, float]]:
    return torch.full((len(tokens),), 0.5), {"sane": 0.5}


def walking(temperature: float = 1.0, steps: int = 8) -> Draw:
    sampler = mdlm(PROCESS, steps, None, Readout(temperature))

    def draw(denoiser: Denoiser, rows: Rows, seed: int, steer: Steer | None = None) -> Tensor:
        return sampler(denoiser, rows, seed=seed, steer=steer)

    return draw


def reinforcement(judge: Reward, draw: Draw | None = None, **options: Any) -> Reinforcement:
    """One whose rows are all of one group, unless said otherwise."""
    base = DiffusionObjective(PROCESS, RowRandom(4))
    walk = draw or walking(options.get("temperature", 1.0))
    return Reinforcement(base, base, walk, judge, **{"states": 1, "group": 1 << 20, **options})


def batch_of(rows: int, length: int = LENGTH, step: int = 0, cond: Tensor | None = None) -> Batch:
    tokens = torch.randint(KINDS, (rows, length), generator=torch.Generator().manual_seed(1))
    return Batch(tokens, cond, torch.arange(rows), rows, step, tokens.numel())


def transformer(length: int = 5) -> Transformer:
    torch.manual_seed(0)
    built = Transformer(TransformerConfig(KINDS, KINDS + 1, length, 16, 2, 2))
    for weights in built.parameters():
        if not weights.any():  # else most slopes would be 0
            nn.init.normal_(weights, std=0.3)
    return built


def slopes(call: Callable[..., object], network: nn.Module, batch: Batch) -> list[Tensor]:
    network.zero_grad()
    call(network, batch).total.backward()  # type: ignore[attr-defined]
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize(
    ("temperature", "states", "passed"), [(1.0, 1, False), (0.5, 1, False), (1.0, 3, False), (0.5, 2, True)]
)
def test_the_slope_is_that_of_the_expected_reward(temperature: float, states: int, passed: bool) -> None:
    rows, network = 60_000, Factorised()
    objective = reinforcement(tabled, states=states, temperature=temperature, passed=passed)
    batch = batch_of(rows)
    with_term, without = slopes(objective, network, batch), slopes(objective.data, network, batch)
    # By enumeration: the mean reward of rows drawn at that temperature, in their standard deviations.
    law = (network.logits / temperature).log_softmax(-1)
    chances = law[0].exp()[:, None] * law[1].exp()[None, :]
    mean = (chances * TABLE).sum()
    spread = (chances * (TABLE - mean) ** 2).sum().sqrt().item()
    (wanted,) = torch.autograd.grad(-mean / (spread + 1e-2), [network.logits])
    # The loss is a mean over tokens.
    torch.testing.assert_close((with_term[0] - without[0]) * LENGTH, wanted, atol=0.02, rtol=0)
    assert wanted.abs().max() > 0.1


def test_rows_that_are_worth_the_same_teach_nothing() -> None:
    network, batch = transformer(), batch_of(16, 5)
    objective = reinforcement(alike)
    for ours, theirs in zip(
        slopes(objective, network, batch), slopes(objective.data, network, batch), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    loss = objective(network, batch)
    assert loss.parts["reward"].item() == 0.5
    assert loss.parts["sane"].item() == 0.5
    assert loss.nll.item() == objective.data(network, batch).nll.item()


def test_an_advantage_is_over_the_mean_of_the_others_of_the_group() -> None:
    reward = torch.tensor([0.0, 0.0, 1.0, 3.0, 5.0, 6.0, 9.0])
    groups = [[0, 1, 2], [3, 4, 5], [6]]
    others = torch.tensor([reward[[k for k in group if k != i]].mean() for group in groups for i in group])
    means = torch.tensor([reward[group].mean() for group in groups for _ in group])
    spread = (reward - means).square().mean().sqrt()
    wanted = ((reward - others) / (spread + 1e-2)).nan_to_num(0)  # nobody is there to compare the last with
    found = advantages(reward, 3)
    torch.testing.assert_close(found, wanted)
    assert [found[group].sum().abs().item() < 1e-6 for group in groups] == [True] * 3
    assert not advantages(torch.ones(5), 2).any()


def test_rows_of_a_group_are_asked_the_same_and_drawn_anew_each_step() -> None:
    asked: list[tuple[Rows, int]] = []
    walk = walking()

    def draw(denoiser: Denoiser, rows: Rows, seed: int, steer: Steer | None = None) -> Tensor:
        assert not torch.is_grad_enabled()
        asked.append((rows, seed))
        return walk(denoiser, rows, seed, steer)

    judged: list[Tensor] = []

    def judge(tokens: Tensor, cond: Tensor | None) -> tuple[Tensor, dict[str, float]]:
        judged.append(tokens)
        assert cond is not None
        return cond[:, 0], {}

    cond = torch.arange(12.0)[:, None]
    first = torch.tensor([0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 10, 10])
    for step in (0, 1, 0):
        reinforcement(judge, draw, group=5)(Factorised(), batch_of(12, step=step, cond=cond))
    assert all(torch.equal(rows.cond, cond[first]) and rows.length == LENGTH for rows, _ in asked)
    assert asked[0][1] == asked[2][1] != asked[1][1]
    assert torch.equal(judged[0], judged[2])
    assert not torch.equal(judged[0], judged[1])
    assert judged[0].unique(dim=0).shape[0] > 3  # asked the same, but not drawn the same


def test_beginnings_end_with_one_of_the_ends_each_as_often() -> None:
    rows = 3_000
    tokens = torch.tensor([[2, 0, 2, 1, 0, 2], [1, 1, 2, 2, 1, 1]]).repeat(rows, 1)
    batch = Batch(tokens, None, torch.arange(2 * rows), 2 * rows, 5, tokens.numel())
    kept = Beginnings(0.6, 0, RowRandom(3))(batch)
    lengths = kept[::2].sum(1)
    assert torch.equal(kept[::2], torch.arange(6) < lengths[:, None])
    shares = lengths.bincount(minlength=7) / rows
    torch.testing.assert_close(shares[[0, 2, 5]], torch.tensor([0.4, 0.3, 0.3]), atol=0.035, rtol=0)
    assert shares[[0, 2, 5]].sum() == 1
    assert not kept[1::2].any()  # without an end there is no beginning


def test_what_is_kept_is_neither_drawn_nor_learnt() -> None:
    judged: list[Tensor] = []

    def judge(tokens: Tensor, cond: Tensor | None) -> tuple[Tensor, dict[str, float]]:
        judged.append(tokens)
        return TABLE[tokens[:, 0], tokens[:, 1]], {}

    network, batch = Factorised(), batch_of(4_000)
    first = torch.tensor([True, False]).expand(4_000, 2)
    objective = reinforcement(judge, kept=lambda batch: first, group=4)
    found, without = slopes(objective, network, batch), slopes(objective.data, network, batch)
    assert torch.equal(judged[0][:, 0], batch.tokens[::4, 0].repeat_interleave(4))
    torch.testing.assert_close(found[0][0], without[0][0], atol=1e-6, rtol=1e-5)
    assert (found[0][1] - without[0][1]).abs().max() > 0.01


def test_drawing_first_leaves_the_slopes_in_half_precision() -> None:
    network, batch, objective = transformer(), batch_of(32, 5), reinforcement(tabled)
    with torch.autocast("cpu", torch.bfloat16):
        found = slopes(objective, network, batch)
    exact = slopes(objective, network, batch)
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.norm() == 0 if theirs.norm() == 0 else ours.norm() > 0


def test_what_is_worth_more_becomes_likelier() -> None:
    network = transformer()
    objective = reinforcement(
        lambda tokens, cond: ((tokens == 1).float().mean(1), {}), walking(steps=5), weight=5
    )
    optimizer = torch.optim.AdamW(network.parameters(), 0.02)

    def share() -> float:
        drawn = walking(steps=5)(network, Rows(torch.arange(400), 5), 9, None)
        return (drawn == 1).float().mean().item()

    before = share()
    for step in range(25):
        optimizer.zero_grad()
        objective(network, batch_of(64, 5, step)).total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert before < 0.5 < 0.6 < share()


def test_states_passed_are_of_the_row_at_every_share_as_often() -> None:
    rows, length, kept = 4_000, 5, 2
    tokens, frozen = torch.zeros(rows, length, dtype=torch.int64), torch.zeros(rows, length, dtype=torch.bool)
    frozen[::2, :kept] = True
    share = 1 - RowRandom(5).uniform(torch.arange(rows), 0, 2, Stream.REWARD)
    passing = Passing(PROCESS, tokens, frozen, share)
    sampler = OrderedSampler(PROCESS, Surest(noise=1.0))
    asked = Rows(torch.arange(rows), length, None, tokens, frozen)
    own = sampler(transformer(), asked, seed=2, steer=passing)
    kept_states = passing.states()
    states, t = kept_states.x_t, kept_states.t
    masked = states == KINDS
    assert torch.equal(torch.where(masked, own.repeat(2, 1), states), own.repeat(2, 1))
    assert not (masked & frozen.repeat(2, 1)).any()
    left = masked.sum(1)
    torch.testing.assert_close(t, left / (~frozen).sum(1).repeat(2), check_dtype=False)
    for first, free in ((0, length - kept), (1, length)):
        shares = left[first::2].bincount(minlength=free + 1) / rows
        torch.testing.assert_close(shares[1:], torch.full((free,), 1 / free), atol=0.03, rtol=0)
        assert shares[0] == 0


@pytest.mark.parametrize("schedule", [LogLinear(), Cosine()], ids=["log-linear", "cosine"])
@pytest.mark.parametrize("order", [Surest(), Surest(noise=1.0), EntropyBound(1.2), None], ids=repr)
def test_the_slope_is_the_same_in_any_order(order: Order | None, schedule: NoiseSchedule) -> None:
    rows, length, process = 40_000, 4, Masked(KINDS, schedule)
    sampler = OrderedSampler(process, order) if order else mdlm(process, 4, None, Readout())

    def draw(denoiser: Denoiser, rows: Rows, seed: int, steer: Steer | None = None) -> Tensor:
        return sampler(denoiser, rows, seed=seed, steer=steer)

    def judge(tokens: Tensor, cond: Tensor | None) -> tuple[Tensor, dict[str, float]]:
        return worth[torch.arange(length), tokens].sum(1), {}

    torch.manual_seed(0)
    worth, network = torch.rand(length, KINDS), Factorised(torch.randn(length, KINDS))
    base = DiffusionObjective(process, RowRandom(4))
    objective = Reinforcement(base, base, draw, judge, states=2, group=1 << 20, passed=True)
    batch = batch_of(rows, length)
    found = (slopes(objective, network, batch)[0] - slopes(base, network, batch)[0]) * length
    law = network.logits.softmax(-1)
    mean = (law * worth).sum(1, keepdim=True)
    spread = (law * (worth - mean) ** 2).sum().sqrt().item()
    (wanted,) = torch.autograd.grad(-mean.sum() / (spread + 1e-2), [network.logits])
    torch.testing.assert_close(found, wanted, atol=0.04, rtol=0)
    assert (wanted.abs().amax(1) > 0.08).all()


def test_what_takes_tokens_back_passes_nothing() -> None:
    sampler = remdm_cap(PROCESS, 16, None, Readout(), eta=0.5)

    def draw(denoiser: Denoiser, rows: Rows, seed: int, steer: Steer | None = None) -> Tensor:
        return sampler(denoiser, rows, seed=seed, steer=steer)

    with pytest.raises(MoldiffError, match="takes tokens back"):
        reinforcement(tabled, draw, passed=True)(Factorised(), batch_of(64))


def test_rows_are_drawn_as_the_network_is_used() -> None:
    network, seen = transformer(), []

    def draw(denoiser: Denoiser, rows: Rows, seed: int, steer: Steer | None = None) -> Tensor:
        seen.append(network.training)
        return walking()(denoiser, rows, seed, steer)

    reinforcement(alike, draw)(network.train(), batch_of(16, 5))
    assert seen == [False]
    assert network.training


def test_a_share_without_rows_draws_none() -> None:
    network, batch = transformer(), batch_of(16, 5)
    nothing = replace(batch, tokens=batch.tokens[:0], rows=batch.rows[:0])
    found = reinforcement(alike, draw=lambda *_: pytest.fail("drawn"))(network, nothing)
    assert found.total.item() == 0


def test_what_is_passed_is_asked_of_masks_alone() -> None:
    base = DiffusionObjective(Uniform(KINDS, LogLinear()), RowRandom(4))
    with pytest.raises(MoldiffError, match="masks only"):
        Reinforcement(base, base, walking(), tabled, passed=True)


@pytest.mark.parametrize("options", [{"weight": 0.0}, {"weight": -1.0}, {"states": 0}, {"group": 1}], ids=str)
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(MoldiffError, match=r"reward: got weight .* needs a weight above 0"):
        reinforcement(tabled, **options)
