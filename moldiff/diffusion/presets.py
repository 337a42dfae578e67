"""Named samplers: each name stands for one documented choice of policies."""

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from functools import wraps
from typing import Any, Literal, get_args

from moldiff.diffusion.autoregressive import Autoregressive, AutoregressiveSampler, LengthLaw
from moldiff.diffusion.corrector import Corrector
from moldiff.diffusion.ordered import EntropyBound, OrderedSampler, Surest
from moldiff.diffusion.process import Level, Process, need_masks
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
from moldiff.diffusion.rewriting import RewritingSampler, need_tokens
from moldiff.diffusion.sampler import FirstHittingSampler, Sampler
from moldiff.diffusion.walk import Readout
from moldiff.errors import MoldiffError, unknown


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
    """ReMDM-loop as the paper prints it with conf: while the level is held, tokens are only given back.

    For masks: of uniform noise the share is held whatever the rule, so that this would be ReMDM-loop.
    """
    need_masks(process, "remdm-loop-literal")
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


def _correcting(make: Callable[..., Sampler]) -> Callable[..., Sampler]:
    """The preset ``make`` with a corrector, whose options it takes beside its own."""
    own, plain = [f for f in fields(Corrector) if f.metadata.get("option", True)], inspect.signature(make)
    options = [inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default) for f in own]
    names = {option.name for option in options}

    @wraps(make)
    def preset(*fixed: Any, **asked: Any) -> Sampler:
        mine = {name: asked.pop(name) for name in names & asked.keys()}
        return replace(make(*fixed, **asked), corrector=Corrector(**mine))

    whole = plain.replace(parameters=[*plain.parameters.values(), *options])
    preset.__signature__ = whole  # type: ignore[attr-defined]
    return preset


@_correcting
def proseco(process: Process, steps: int, level: Level | None, readout: Readout) -> Sampler:
    """ProSeCo: no remasking, but a model trained for it rewrites its own tokens at every few steps."""
    need_masks(process, "proseco")
    return Sampler(process, steps, Ancestral(), level, readout)


#: The schedules that remdm-proseco can take.
Remasked = Literal["cap", "rescale", "conf", "switch", "loop"]


@_correcting
def remdm_proseco(
    process: Process,
    steps: int,
    level: Level | None,
    readout: Readout,
    *,
    remasking: Remasked = "conf",
    eta: float = 0.9,
) -> Sampler:
    """ProSeCo on a schedule that gives tokens back: what the network does not rewrite may be drawn again."""
    need_masks(process, "remdm-proseco")
    if remasking not in get_args(Remasked):
        raise unknown("remasking of remdm-proseco", remasking, get_args(Remasked))
    confidence = Confidence(Rescale(eta))
    schedules: dict[str, Remasking] = {
        "cap": Cap(eta),
        "rescale": Rescale(eta),
        "conf": confidence,
        "switch": Switch(confidence, 0.5),
        "loop": Loop.model_time(Confidence(Rescale(eta), balanced=True)),
    }
    return Sampler(process, steps, schedules[remasking], level, readout)


def self_correct(
    process: Process, steps: int, level: Level | None, readout: Readout, *, share: float = 0.75
) -> RewritingSampler:
    """Ancestral steps of uniform noise, then readings that rewrite a token each: a ``share`` of all steps."""
    need_tokens(process, "self-correct")
    if not 0 <= share < 1:
        raise MoldiffError(f"share of self-correct: got {share}, must be in [0, 1)")
    readings = max(0, min(int(share * steps), steps - 1))
    return RewritingSampler(Sampler(process, steps - readings, Ancestral(), level, readout), readings)


def first_hitting(process: Process, steps: int, level: Level | None, readout: Readout) -> FirstHittingSampler:
    """One token at a time at its exact time; ``steps`` does not matter, a token costs a forward."""
    _x0_only("first-hitting", level)
    return FirstHittingSampler(process, readout)


def adaptive_order(
    process: Process, steps: int, level: Level | None, readout: Readout, *, noise: float = 1.0
) -> OrderedSampler:
    """One token at a time where the best leads the second by most, with noise; a token costs a forward."""
    _x0_only("adaptive-order", level)
    return OrderedSampler(process, Surest("margin", noise), readout)


def margin_order(
    process: Process, steps: int, level: Level | None, readout: Readout, *, noise: float = 0.0
) -> OrderedSampler:
    """adaptive-order without its noise."""
    _x0_only("margin-order", level)
    return OrderedSampler(process, Surest("margin", noise), readout)


def confidence_order(
    process: Process, steps: int, level: Level | None, readout: Readout, *, noise: float = 0.0
) -> OrderedSampler:
    """One token at a time where the best token is likeliest; a token costs a forward."""
    _x0_only("confidence-order", level)
    return OrderedSampler(process, Surest("probability", noise), readout)


def entropy_order(
    process: Process, steps: int, level: Level | None, readout: Readout, *, noise: float = 0.0
) -> OrderedSampler:
    """One token at a time where the prediction has the least entropy; a token costs a forward."""
    _x0_only("entropy-order", level)
    return OrderedSampler(process, Surest("entropy", noise), readout)


def entropy_bound(
    process: Process, steps: int, level: Level | None, readout: Readout, *, gamma: float = 0.1
) -> OrderedSampler:
    """Several tokens at a time, by increasing entropy, as long as they hardly depend on one another."""
    _x0_only("entropy-bound", level)
    return OrderedSampler(process, EntropyBound(gamma), readout)


def autoregressive(
    process: Autoregressive, steps: int, level: Level | None, readout: Readout, *, length: LengthLaw = "own"
) -> AutoregressiveSampler:
    """Token by token from left to right; ``steps`` does not matter, each token is read once."""
    _x0_only("autoregressive", level)
    return AutoregressiveSampler(process, length, readout)


def _x0_only(name: str, level: Level | None) -> None:
    """Refuse guidance at the next state, which these samplers do not look at."""
    if level not in (None, "x0"):
        raise MoldiffError(f"{name}: got guidance level {level}, it takes x0 only")
