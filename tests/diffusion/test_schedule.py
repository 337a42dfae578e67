"""Noise schedules: their ends, derivatives, inverses and the weight of the bound."""

import math

import pytest
import torch

from moldiff.diffusion.schedule import Cosine, LogLinear, NoiseSchedule, Polynomial
from moldiff.errors import MoldiffError

SCHEDULES = [LogLinear(), Cosine(), Polynomial(), Polynomial(0.5), Polynomial(3.0)]
TIMES = torch.linspace(0, 1, 401, dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_alpha_falls_strictly_from_exactly_one_to_exactly_zero(schedule: NoiseSchedule) -> None:
    alpha = schedule.alpha(TIMES)
    assert alpha[0] == 1
    assert alpha[-1] == 0
    assert (alpha.diff() < 0).all()
    assert schedule.at(0.0) == 1.0
    assert schedule.at(1.0) == 0.0
    assert float(schedule.alpha(torch.ones(()))) == 0.0


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_derivative_is_the_central_difference(schedule: NoiseSchedule) -> None:
    t, h = TIMES[40:-40], 1e-6
    difference = (schedule.alpha(t + h) - schedule.alpha(t - h)) / (2 * h)
    torch.testing.assert_close(schedule.dalpha(t), difference, rtol=1e-6, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_inverse_undoes_alpha(schedule: NoiseSchedule) -> None:
    t = TIMES[1:-1]
    torch.testing.assert_close(schedule.inverse(schedule.alpha(t)), t, rtol=0, atol=1e-9)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(schedule.inverse(ends), 1 - ends, rtol=0, atol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_weight_is_the_rate_of_total_noise_over_its_expm1(schedule: NoiseSchedule) -> None:
    # With total noise n = -log alpha: n' / (exp(n) - 1) = -alpha' / (1 - alpha).
    t = TIMES[20:-1]
    noise = -schedule.alpha(t).log()
    rate = -schedule.dalpha(t) / schedule.alpha(t)
    torch.testing.assert_close(schedule.weight(t), rate / noise.expm1(), rtol=1e-11, atol=0)


def test_weight_of_loglinear_is_one_over_t() -> None:
    t = TIMES[1:]
    torch.testing.assert_close(LogLinear().weight(t), 1 / t, rtol=1e-12, atol=1e-12)


def test_weight_is_infinite_at_the_clean_end() -> None:
    assert LogLinear().weight(torch.zeros(())) == math.inf


@pytest.mark.parametrize("power", [0.0, -1.0, math.nan])
def test_polynomial_refuses_a_power_that_does_not_fall(power: float) -> None:
    with pytest.raises(MoldiffError, match="power"):
        Polynomial(power)
