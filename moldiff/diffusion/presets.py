"""Named samplers: each name stands for one documented choice of policies."""

from moldiff.diffusion.adaptive_order import AdaptiveOrderSampler
from moldiff.diffusion.process import Level, Process
from moldiff.diffusion.remasking import (
    DFM,
    Ancestral,
    Cap,
    Confidence,
    ForwardBackward,
    Loop,
    Normalize,
    Remasking,
    Rescale,
    Switch,
)
from moldiff.diffusion.sampler import FirstHittingSampler, Sampler
from moldiff.diffusion.walk import Readout
from moldiff.errors import MoldiffError


def mdlm(process: Process, steps: int, level: Level | None, readout: Readout) -> Sampler:
    """No remasking: the plain ancestral sampler."""
    return Sampler(process, steps, Ancestral(), level, readout)


def remdm_cap(
    process: Process, steps: int, level: Level | None, readout: Readout, *, eta: float = 0.02
) -> Sampler:
    """ReMDM-cap: every visible token is masked again with chance eta, or less where the marginal asks."""
    return Sampler(process, steps, Cap(eta), level, readout)


def remdm_rescale(
    process: Process, steps: int, level: Level | None, readout: Readout, *, eta: float = 0.05
) -> Sampler:
    """ReMDM-rescale: the chance to mask again is eta times the largest legal one."""
    return Sampler(process, steps, Rescale(eta), level, readout)


def remdm_conf(
    process: Process,
    steps: int,
    level: Level | None,
    readout: Readout,
    *,
    eta: float = 0.9,
    normalize: Normalize = "sum",
) -> Sampler:
    """ReMDM-conf: rescale, shared so that tokens drawn with little confidence go first."""
    return Sampler(process, steps, Confidence(Rescale(eta), normalize), level, readout)


def remdm_switch(
    process: Process,
    steps: int,
    level: Level | None,
    readout: Readout,
    *,
    eta: float = 0.9,
    start: float = 0.5,
) -> Sampler:
    """ReMDM-switch: remdm-conf from time ``start`` on, no remasking before."""
    remasking = Switch(Confidence(Rescale(eta)), start)
    return Sampler(process, steps, remasking, level, readout)


def remdm_loop(
    process: Process,
    steps: int,
    level: Level | None,
    readout: Readout,
    *,
    eta: float = 0.9,
    on: float = 0.25,
    off: float = 0.125,
) -> Sampler:
    """ReMDM-loop: reach model time ``on``, hold it there with balanced remdm-conf, then finish."""
    inner: Remasking = Confidence(Rescale(eta), balanced=True)
    return Sampler(process, steps, Loop.model_time(inner, on, off), level, readout)


def remdm_loop_literal(
    process: Process,
    steps: int,
    level: Level | None,
    readout: Readout,
    *,
    eta: float = 0.9,
    on: float = 0.25,
    off: float = 0.125,
) -> Sampler:
    """ReMDM-loop as the paper prints it with conf: while the level is held, tokens are only given back."""
    inner: Remasking = Confidence(Rescale(eta))
    return Sampler(process, steps, Loop.model_time(inner, on, off), level, readout)


def remdm_loop_cap(
    process: Process,
    steps: int,
    level: Level | None,
    readout: Readout,
    *,
    eta: float = 0.02,
    on: float = 0.55,
    off: float = 0.05,
    alpha_on: float = 0.9,
) -> Sampler:
    """ReMDM-loop as used for text: capped remasking while the share alpha_on of the tokens is held."""
    loop = Loop.wall_clock(Cap(eta), on, off, alpha_on, process.schedule)
    return Sampler(process, steps, loop, level, readout)


def forward_backward(process: Process, steps: int, level: Level | None, readout: Readout) -> Sampler:
    """The forward-backward corrector: as much is given back as the step reveals."""
    return Sampler(process, steps, ForwardBackward(), level, readout)


def dfm(
    process: Process,
    steps: int,
    level: Level | None,
    readout: Readout,
    *,
    eta: float = 10.0,
    adaptive: bool = False,
) -> Sampler:
    """The corrector of discrete flow matching; eta is its scale."""
    return Sampler(process, steps, DFM(eta, adaptive), level, readout)


def first_hitting(process: Process, steps: int, level: Level | None, readout: Readout) -> FirstHittingSampler:
    """One token at a time at its exact time; ``steps`` does not matter, a token costs a forward."""
    if level not in (None, "x0"):
        raise MoldiffError(f"first-hitting: got guidance level {level}, it takes x0 only")
    return FirstHittingSampler(process, readout)


def adaptive_order(
    process: Process, steps: int, level: Level | None, readout: Readout, *, noise: float = 1.0
) -> AdaptiveOrderSampler:
    """One token at a time where the network is surest; ``steps`` does not matter, a token costs a forward."""
    if level not in (None, "x0"):
        raise MoldiffError(f"adaptive-order: got guidance level {level}, it takes x0 only")
    return AdaptiveOrderSampler(process, noise, readout)
