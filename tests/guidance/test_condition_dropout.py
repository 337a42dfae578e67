"""Condition dropout: how often what is hidden, and that the caller's tensor stays as it was."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.random import RowRandom, Stream
from moldiff.errors import MoldiffError
from moldiff.guidance.training import DropAll, KeepCount, KeepOne

N = 20_000


def uniforms(slots: int, seed: int = 0) -> Tensor:
    return RowRandom(seed).uniform(torch.arange(N), 0, slots + 1, Stream.CONDITION)


def near(share: float, chance: float) -> bool:
    return abs(share - chance) < 4 * math.sqrt(chance * (1 - chance) / N)


@pytest.mark.parametrize("slots", [1, 2, 3, 6])
def test_every_number_of_kept_slots_is_as_likely(slots: int) -> None:
    cond = torch.ones(N, slots)
    kept = (~KeepCount()(cond, uniforms(slots)).isnan()).sum(-1)
    for count in range(slots + 1):
        assert near(float((kept == count).double().mean()), 1 / (slots + 1))
    assert float((kept == 0).double().mean()) >= 0.10


@pytest.mark.parametrize("skew", [1.0, 2.0, 3.5])
def test_a_skew_leaves_more_rows_without_conditions(skew: float) -> None:
    kept = (~KeepCount(skew)(torch.ones(N, 4), uniforms(4)).isnan()).sum(-1)
    for count in range(5):
        chance = ((count + 1) / 5) ** (1 / skew) - (count / 5) ** (1 / skew)
        assert near(float((kept == count).double().mean()), chance)


@pytest.mark.parametrize("skew", [0.5, math.inf, math.nan])
def test_a_skew_below_one_is_refused(skew: float) -> None:
    with pytest.raises(MoldiffError, match="skew of condition dropout"):
        KeepCount(skew)


def test_every_choice_of_slots_is_as_likely() -> None:
    kept = ~KeepCount()(torch.ones(N, 3), uniforms(3)).isnan()
    for choice in itertools.product([False, True], repeat=3):
        share = float((kept == torch.tensor(choice)).all(-1).double().mean())
        assert near(share, 1 / (4 * math.comb(3, sum(choice))))


def test_what_is_kept_keeps_its_value_and_null_stays_null() -> None:
    cond = torch.arange(N * 2).view(N, 2).float()
    cond[::2, 0] = torch.nan
    for dropout in (KeepCount(), KeepOne(), DropAll(0.5)):
        out = dropout(cond, uniforms(2))
        known = ~out.isnan()
        assert out[known].equal(cond[known])
        assert out[::2, 0].isnan().all()
        assert known.any()


@pytest.mark.parametrize("dropout", [KeepCount(), KeepOne(), DropAll(1.0)], ids=str)
def test_the_callers_tensor_is_untouched(dropout: KeepCount | KeepOne | DropAll) -> None:
    cond = torch.ones(N, 2)
    assert dropout(cond, uniforms(2)).isnan().any()
    assert cond.equal(torch.ones(N, 2))


def test_drop_all_hides_all_slots_at_its_rate() -> None:
    hidden = DropAll()(torch.ones(N, 3), uniforms(3)).isnan()
    assert hidden.any(-1).equal(hidden.all(-1))
    assert near(float(hidden[:, 0].double().mean()), 0.1)
    assert not DropAll(0.0)(torch.ones(N, 3), uniforms(3)).isnan().any()
    assert DropAll(1.0)(torch.ones(N, 3), uniforms(3)).isnan().all()


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_rate_that_is_no_chance_is_refused(rate: float) -> None:
    with pytest.raises(MoldiffError, match="rate of condition dropout"):
        DropAll(rate)


@pytest.mark.parametrize("none", [0.1, 0.6])
def test_keep_one_keeps_each_slot_as_often_and_never_two(none: float) -> None:
    kept = ~KeepOne(none)(torch.ones(N, 3), uniforms(3)).isnan()
    assert int(kept.sum(-1).max()) <= 1
    for slot in range(3):
        assert near(float(kept[:, slot].double().mean()), (1 - none) / 3)
    assert near(float((~kept.any(-1)).double().mean()), none)
    assert KeepOne(1.0)(torch.ones(N, 3), uniforms(3)).isnan().all()
    assert (KeepOne(0.0)(torch.ones(N, 3), uniforms(3)).isnan().sum(-1) == 2).all()


@pytest.mark.parametrize("none", [-0.1, 1.1, math.nan])
def test_a_chance_of_none_that_is_no_chance_is_refused(none: float) -> None:
    with pytest.raises(MoldiffError, match="none of condition dropout"):
        KeepOne(none)
