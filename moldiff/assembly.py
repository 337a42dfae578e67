"""What a configuration names, built: process, network, sampler, device; without the training framework."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from moldiff import registry
from moldiff.conditions import ConditionSpec
from moldiff.config import Setting, TrainConfig
from moldiff.diffusion.process import Level, Process
from moldiff.diffusion.walk import Readout
from moldiff.errors import MoldiffError
from moldiff.nn.embedding import ConditionSlot
from moldiff.nn.transformer import Transformer, TransformerConfig


def build_tokenizer(modality: str, state: dict[str, Any]) -> Any:
    """The tokenizer with a stored state; what else the modality needs is not imported."""
    name = registry.tokenizer_name(modality, state.get("name"))
    return registry.resolve("tokenizer", name).from_state(state)


def build_process(config: TrainConfig, num_tokens: int) -> Process:
    """The forward process that a configuration names."""
    schedule = registry.build("schedule", config.process.schedule, **config.process.options)
    process: Process = registry.build(
        "process", config.process.name, num_tokens=num_tokens, schedule=schedule
    )
    return process


def network_config(
    config: TrainConfig, process: Process, max_length: int, conditions: Sequence[ConditionSpec]
) -> TransformerConfig:
    """The size of the network that a configuration asks for."""
    slots = tuple(ConditionSlot(c.classes) for c in conditions)
    size = config.network.model_dump()
    return TransformerConfig(process.num_tokens, process.num_states, max_length, slots=slots, **size)


def build_network(
    config: TrainConfig, process: Process, max_length: int, conditions: Sequence[ConditionSpec]
) -> Transformer:
    """A fresh network of the configured size, its weights a function of the seed."""
    size = network_config(config, process, max_length, conditions)
    # The caller's own random numbers go on as if nothing had been drawn here.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Transformer(size)


def misfit(size: TransformerConfig, weights: Mapping[str, Tensor]) -> str | None:
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
        expected = {name: value.shape for name, value in Transformer(size).state_dict().items()}
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


def build_sampler(process: Process, setting: Setting, level: Level | None = None) -> Any:
    """The sampler of a setting; MoldiffError where it does not take the setting's options."""
    name, options = setting.sampler, setting.options
    takes = inspect.signature(registry.resolve("sampler", name)).parameters
    for key, value in options.items():
        if key in takes and isinstance(value, str) != isinstance(takes[key].default, str):
            kind = "a number" if isinstance(value, str) else "a name"
            raise MoldiffError(f"sampler {name}: got {key} = {value!r}, needs {kind}")
    readout = Readout(setting.temperature, setting.top_p, setting.nucleus)
    return registry.build("sampler", name, process, setting.steps, level, readout, **options)


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
