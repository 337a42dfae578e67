"""What a configuration names, built: process, network, sampler, device; without the training framework."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from moldiff import registry
from moldiff.conditions import ConditionSpec, always_told
from moldiff.config import Setting, TrainConfig
from moldiff.diffusion.process import Formulation, Level
from moldiff.diffusion.random import RowRandom
from moldiff.diffusion.walk import Readout
from moldiff.errors import MoldiffError, Unfit
from moldiff.nn.classifier import Classifier
from moldiff.nn.embedding import ConditionSlot
from moldiff.nn.transformer import Transformer, TransformerConfig
from moldiff.types import Guidance, Tokenizer


def build_tokenizer(modality: str, state: dict[str, Any]) -> Any:
    """The tokenizer with a stored state; what else the modality needs is not imported."""
    name = registry.tokenizer_name(modality, state.get("name"))
    return registry.resolve("tokenizer", name).from_state(state)


def build_process(config: TrainConfig, num_tokens: int) -> Formulation:
    """The forward process that a configuration names; MoldiffError where it takes no schedule and has one."""
    name, asked = config.process.name, config.process
    schedule = registry.build("schedule", asked.schedule, **asked.options)
    options = {"num_tokens": num_tokens, "schedule": schedule}
    if "schedule" not in inspect.signature(registry.resolve("process", name)).parameters:
        if asked.schedule != type(asked)().schedule or asked.options:
            raise MoldiffError(f"process.schedule: got {asked.schedule}, but {name} has none; leave it out")
        del options["schedule"]
    process: Formulation = registry.build("process", name, **options)
    return process


def build_objective(process: Formulation, random: RowRandom, t_min: float = 0.0) -> Any:
    """What a model of a process is trained with, and by which a row's likelihood is found."""
    return registry.build("objective", registry.name_of("process", process), process, random, t_min)


def network_config(
    config: TrainConfig, process: Formulation, max_length: int, conditions: Sequence[ConditionSpec]
) -> TransformerConfig:
    """The size of the network that a configuration asks for."""
    slots = tuple(ConditionSlot(c.classes) for c in conditions)
    size = config.network.model_dump()
    size["causal"] = process.causal
    return TransformerConfig(process.num_outputs, process.num_states, max_length, slots=slots, **size)


def build_network(
    config: TrainConfig, process: Formulation, max_length: int, conditions: Sequence[ConditionSpec]
) -> Transformer:
    """A fresh network of the configured size, its weights a function of the seed."""
    size = network_config(config, process, max_length, conditions)
    # The caller's own random numbers go on as if nothing had been drawn here.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Transformer(size)


def build_classifier(
    config: TrainConfig, process: Formulation, max_length: int, conditions: Sequence[ConditionSpec]
) -> Classifier:
    """A fresh classifier of the configured size, its weights a function of the seed."""
    size = network_config(config, process, max_length, conditions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Classifier(size)


def misfit(
    size: TransformerConfig,
    weights: Mapping[str, Tensor],
    kind: type[Transformer] | type[Classifier] = Transformer,
) -> str | None:
    """Why weights are not those of a network of this size, None where they are; nothing large is built."""
    if size.depth > len(weights):
        return f"{size.depth} blocks, but {len(weights)} arrays"
    # Each of these is a dimension of some array; what is larger than all of them is too large to describe.
    largest, count = (
        max(size.width, size.num_states, size.max_length),
        sum(map(Tensor.numel, weights.values())),
    )
    if largest > count:
        return f"a dimension of {largest:.3g}, but {count} weights"
    with torch.device("meta"):
        expected = {name: value.shape for name, value in kind(size).state_dict().items()}
    return difference(expected, weights)


def difference(expected: Mapping[str, torch.Size], weights: Any) -> str | None:
    """The first array that is absent, of another shape or not expected, None where all are alike."""
    if not isinstance(weights, Mapping):
        return f"got {type(weights).__name__}, expected arrays by name"
    for name in sorted(expected.keys() | weights.keys()):
        found = getattr(weights.get(name), "shape", None)
        if found != expected.get(name):
            return f"{name} is {_shape(found)}, expected {_shape(expected.get(name))}"
    return None


def _shape(shape: torch.Size | None) -> str:
    return "absent" if shape is None else " x ".join(map(str, shape)) or "a number"


def build_sampler(process: Formulation, setting: Setting, level: Level | None = None) -> Any:
    """The sampler of a setting; MoldiffError where it does not go with the options or the process."""
    name, options = setting.sampler, setting.options
    if setting.complete:
        check_complete(process)
    takes = inspect.signature(registry.resolve("sampler", name)).parameters
    options = {
        key: _typed(f"sampler {name}", key, value, takes[key].default) if key in takes else value
        for key, value in options.items()
    }
    readout = Readout(setting.temperature, setting.top_p, setting.nucleus)
    try:
        return _sampler(name, process, setting.steps, level, readout, **options)
    except Unfit as error:
        choices = ", ".join(samplers_of(process))
        got = _model_of(process)
        raise MoldiffError(
            f"sampler {name}: got {got}, it takes {error.takes}; choose from {choices}"
        ) from None


def check_complete(process: Formulation) -> None:
    """Refuses completable rows of a process whose noise cannot be told from tokens."""
    if process.num_states == process.num_tokens:
        raise MoldiffError(f"complete: got {_model_of(process)}, it takes masks only; leave it off")


def build_guidance(
    process: Formulation,
    tokenizer: Tokenizer[Any],
    conditions: Sequence[ConditionSpec],
    *,
    scale: float,
    complete: bool,
    level: Level | None = None,
) -> Guidance:
    """Classifier-free guidance, restricted to ``complete`` rows where that is asked for.

    Raises:
        MoldiffError: complete rows of a process or at a level that cannot have them.
    """
    guidance: Guidance = registry.build("guidance", "cfg", scale=scale, always=always_told(conditions))
    if not complete:
        return guidance
    check_complete(process)
    at = level or process.level
    if at != "x0":
        raise MoldiffError(f"complete: got level {at}, it takes x0 only; leave it off")
    mask, balance = process.num_tokens, tokenizer.balance()
    restricted: Guidance = registry.build("guidance", "completable", guidance, mask, balance)
    return restricted


def _typed(what: str, key: str, value: float | str, default: Any) -> Any:
    """An option's value as its default is: a name, a number, a whole number, or true or false."""
    if isinstance(default, bool):
        spelt = {"true": True, "false": False, "1.0": True, "0.0": False, "1": True, "0": False}
        if str(value).lower() in spelt:
            return spelt[str(value).lower()]
        raise MoldiffError(f"{what}: got {key} = {value!r}, needs true or false")
    if isinstance(value, str) != isinstance(default, str):
        kind = "a number" if isinstance(value, str) else "a name"
        raise MoldiffError(f"{what}: got {key} = {value!r}, needs {kind}")
    if isinstance(default, int) and not isinstance(value, str):
        if not float(value).is_integer():
            raise MoldiffError(f"{what}: got {key} = {value!r}, needs a whole number")
        return int(value)
    return value


def samplers_of(process: Formulation) -> list[str]:
    """The names of the samplers that run on a process, found by building each."""

    def fits(name: str) -> bool:
        try:
            _sampler(name, process, 64, None, Readout())
        except Unfit:
            return False
        return True

    return [name for name in registry.SAMPLERS if fits(name)]


def _sampler(name: str, process: Formulation, /, *fixed: Any, **options: Any) -> Any:
    """A sampler by name; Unfit where its first parameter is of another kind than ``process``."""
    kind = next(iter(inspect.signature(registry.resolve("sampler", name)).parameters.values())).annotation
    if not isinstance(process, kind):
        takes = "noise only" if process.causal else "autoregressive models only"
        raise Unfit(f"sampler {name}", _model_of(process), takes)
    return registry.build("sampler", name, process, *fixed, **options)


def _model_of(process: Formulation) -> str:
    kind = registry.name_of("process", process)
    return f"{'an' if kind[0] in 'aeio' else 'a'} {kind} model"


def pick_device(name: str) -> torch.device:
    """The device of a name; ``auto`` takes a GPU where there is one."""
    present = ["cpu"]
    present += ["cuda"] if torch.cuda.is_available() else []
    present += ["mps"] if torch.backends.mps.is_available() else []
    if name == "auto":
        return torch.device(present[-1])
    kind, _, number = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if kind not in present or (number and not (number.isdecimal() and int(number) < count)):
        raise MoldiffError(f"device: got {name!r}, this machine has {', '.join(present)}")
    return torch.device(name)
