"""A configuration tried out small, so that a wrong name or size is known before any work."""

from __future__ import annotations

import math

from moldiff import registry
from moldiff.assembly import build_process, build_sampler, network_config
from moldiff.config import TrainConfig
from moldiff.diffusion.random import RowRandom
from moldiff.errors import MoldiffError
from moldiff.training.trainee import objective_of


def rehearse(config: TrainConfig) -> None:
    """Builds all that a configuration names; MoldiffError where that cannot be."""
    process = build_process(config, num_tokens=2)
    network_config(config, process, math.prod(config.network.grid or (1,)), config.conditions)
    if config.task == "classifier":
        _classifier(config)
    if process.timed and not config.network.time:
        raise MoldiffError(
            f"network.time: got false, but what a {config.process.name} process predicts depends on t; set it"
        )
    objective_of(process, RowRandom(config.seed), config)
    settings = {"default": config.default}
    if config.reward is not None:
        settings["reward.setting"] = config.reward.setting
    for name, setting in settings.items():
        corrector = getattr(build_sampler(process, setting), "corrector", None)
        if corrector is not None and not (config.correction and config.correction.weight):
            raise MoldiffError(f"{name}.sampler: got {setting.sampler}, which needs correction.weight=1")
    registry.build("condition dropout", config.condition_dropout.name, **config.condition_dropout.options)


def _classifier(config: TrainConfig) -> None:
    """Refuses what a classifier cannot be asked, and what does not go with one."""
    others = [f"{spec.name} as a category" for spec in config.conditions if spec.kind == "category"]
    if others or not config.conditions:
        got = others[0] if others else "none"
        forms = "{kind: class, name: qed} or {kind: numeric, name: qed}"
        raise MoldiffError(f"conditions: got {got}, a classifier needs classes or numbers: {forms}")
    if len({spec.name for spec in config.conditions}) < len(config.conditions):
        raise MoldiffError("conditions: got a property twice, a classifier needs one answer of each")
    for name in ("correction", "reward"):
        if getattr(config, name) is not None:
            raise MoldiffError(f"{name}: got one with task: classifier, it goes with a denoiser only")
