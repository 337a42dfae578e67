"""What a training run is made of: validated settings from a YAML file and key=value overrides."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from moldiff.conditions import ConditionSpec
from moldiff.errors import MoldiffError, short, unknown
from moldiff.files import check_source
from moldiff.registry import DEFAULT_SAMPLERS

#: A few lines of YAML can stand for more entries than any memory holds: only some of them are written out.
_SHOWN = Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 80


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _home(path: Path) -> Path:
    """The path with ~ spelt out, where that is somebody's."""
    if "\0" in str(path):
        raise ValueError("a path has no NUL character")
    return Path(os.path.expanduser(path))


#: A path as a person writes it: ~ is their home, and a name made of digits alone is still a name.
UserPath = Annotated[
    Path,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    AfterValidator(_home),
]


class DataConfig(_Section):
    """Where items come from and how they become tokens.

    ``path`` is a data file, a token file or the name of a data set; ``tokenizer`` None is the modality's own.
    Token files keep what they were made with; what is set beside one has to agree with it. ``options`` are
    the modality's own, such as how long a row is.
    """

    modality: str = "molecules"
    path: UserPath | None = None
    column: str | None = None
    tokenizer: str | None = None
    stereo: Literal["keep", "strip"] = "keep"
    fragments: Literal["refuse", "largest"] = "refuse"
    heldout: float = Field(default=0.05, ge=0, lt=1)
    length: Literal["empirical", "padded"] = "empirical"
    pad_to: int | None = Field(default=None, ge=1)
    workers: int = Field(default=1, ge=1)
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _padding(self) -> Self:
        if (self.length == "padded") != (self.pad_to is not None):
            raise ValueError("pad_to goes with length: padded, and with nothing else")
        return self


class NetworkConfig(_Section):
    """Size of the transformer; ``grid`` says that rows are grids, by how many rows and columns these have."""

    width: int = Field(default=256, ge=2)
    depth: int = Field(default=4, ge=1)
    heads: int = Field(default=8, ge=1)
    time: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    grid: tuple[int, int] | None = None


class ProcessConfig(_Section):
    """The forward process and its schedule, by name in the registry; ``options`` are the schedule's."""

    name: str = "masked"
    schedule: str = "loglinear"
    options: dict[str, float] = Field(default_factory=dict)


class OptimizerConfig(_Section):
    """The optimizer; its rate goes up over ``warmup`` steps and down over the last share ``decay``."""

    name: Literal["muon", "adamw"] = "muon"
    lr: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup: int = Field(default=200, ge=0)
    decay: float = Field(default=0.3, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.999, ge=0, lt=1)


class DropoutConfig(_Section):
    """How conditions are hidden in training, by name in the registry, with its options."""

    name: str = "keep-count"
    options: dict[str, float] = Field(default_factory=dict)


class CorrectionConfig(_Section):
    """The second term of training: the network corrects what it itself predicts (docs/training.md).

    ``weight`` is the term's and ``denoise`` the usual bound's; ``input`` says what the network reads where
    tokens were masked, ``visible`` what it reads elsewhere; ``errors`` weighted makes right tokens count
    little; ``t_min`` is the least time at which a row is corrected; ``split`` saves memory.
    """

    weight: float = Field(default=1.0, ge=0)
    denoise: float = Field(default=1.0, ge=0)
    input: Literal["argmax", "sampled", "mix"] = "argmax"
    visible: Literal["carry_over", "raw"] = "carry_over"
    errors: Literal["plain", "weighted"] = "plain"
    t_min: float = Field(default=0.1, ge=0, lt=1)
    split: bool = True


class Setting(_Section):
    """How a model is sampled when the caller does not say; ``options`` are the sampler's own, such as eta.

    ``complete`` draws only tokens that leave a row completable.
    """

    sampler: str = "mdlm"
    steps: int = Field(default=64, ge=1, le=1_000_000)
    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    nucleus: Literal["standard", "inclusive"] = "standard"
    scale: float = Field(default=1.0, ge=0)
    complete: bool = False
    options: dict[str, float | str] = Field(default_factory=dict)


class RewardConfig(_Section):
    """A policy gradient beside the bound: what the network draws itself is judged (docs/training.md).

    A row is worth 0 where it is not sane, else 1, plus ``asked`` times how near it is to what it was told,
    plus ``novel`` where it is not in the data set, plus each of ``oracles``, by name, as many times its value
    from 0 to 1. Nearness falls by e over ``width`` standard deviations of a number. ``weight`` is the term's,
    ``states`` says at how many noisy states a row's bound is taken, ``passed`` whether these are ones that it
    passed when it was drawn, ``group`` how many rows are asked the same and judged against one another, and
    ``setting`` how rows are drawn.
    A share ``kept`` of the rows keep a beginning of a row of the data, up to a token ``kept_until``.
    """

    weight: float = Field(default=1.0, gt=0)
    asked: float = Field(default=1.0, ge=0)
    novel: float = Field(default=0.0, ge=0)
    oracles: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    width: float = Field(default=0.5, gt=0)
    states: int = Field(default=2, ge=1)
    passed: bool = False
    group: int = Field(default=8, ge=2)
    kept: float = Field(default=0.0, ge=0, le=1)
    kept_until: str = "."
    setting: Setting = Setting(steps=32)


class TrainConfig(_Section):
    """One training run.

    ``task`` is what is trained: a denoiser, from which one generates, or a classifier of noisy rows, which
    answers the class conditions and guides a denoiser; with an autoregressive process, of clean beginnings.
    ``batch_tokens`` is the most tokens a step takes, fewer where a length has few rows; ``max_steps`` counts
    steps; ``precision`` auto means bfloat16 where the device computes in it; ``compile`` compiles the
    network's blocks where a compiler is there: some 20 s once, then steps about a third shorter on a CPU.
    """

    task: Literal["denoiser", "classifier"] = "denoiser"
    description: str = ""
    license: str = ""
    out: UserPath = Path("runs/model")
    seed: int = Field(default=0, ge=0, lt=2**63)
    max_steps: int = Field(default=1000, ge=1)
    batch_tokens: int = Field(default=4096, ge=1)
    t_min: float = Field(default=0.0, ge=0, lt=1)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool = False
    device: str = "auto"
    devices: int = Field(default=1, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)
    validate_every: int = Field(default=500, ge=1)
    logger: Literal["csv", "tensorboard", "none"] = "csv"
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    process: ProcessConfig = ProcessConfig()
    conditions: tuple[ConditionSpec, ...] = ()
    condition_dropout: DropoutConfig = DropoutConfig()
    correction: CorrectionConfig | None = None
    reward: RewardConfig | None = None
    optimizer: OptimizerConfig = OptimizerConfig()
    default: Setting = Setting()

    @model_validator(mode="after")
    def _own_sampler(self) -> Self:
        """Takes the sampler of the process where none is named."""
        own = DEFAULT_SAMPLERS.get(self.process.name)
        if own is not None and "sampler" not in self.default.model_fields_set:
            # Not by a copy: a validator has to return its own object.
            object.__setattr__(self, "default", self.default.model_copy(update={"sampler": own}))
        return self


def shipped() -> list[str]:
    """Names of the configurations that come with the package."""
    folder = resources.files("moldiff.configs")
    # The settings of the study lie there too.
    return sorted(
        f.name.removesuffix(".yaml")
        for f in folder.iterdir()
        if f.name.endswith(".yaml") and f.name != "study.yaml"
    )


def load(source: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """The configuration of a shipped name or a YAML path, with ``key=value`` overrides applied.

    Raises:
        MoldiffError: no such configuration, not YAML, an unknown key or a value out of range.
    """
    settings = _read(source)
    for override in overrides:
        _apply(settings, override)
    try:
        return TrainConfig.model_validate(settings)
    except ValidationError as error:
        raise MoldiffError(f"configuration {source}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """The first fault of a validation, in one line: where, what was wrong, what was given."""
    fault = error.errors()[0]
    where = short(".".join(str(part) for part in fault["loc"])) or "whole"
    message = fault["msg"].removeprefix("Value error, ").replace("\n", " ")
    got = _SHOWN.repr(fault["input"])
    return f"{where}: {message}, got {got if len(got) <= 80 else got[:77] + '...'}"


def _read(source: str) -> dict[str, Any]:
    path = Path(source)
    if source in shipped():
        text = (resources.files("moldiff.configs") / f"{source}.yaml").read_text("utf-8")
    elif path.suffix in {".yaml", ".yml"}:
        check_source(path)
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise MoldiffError(f"configuration {source}: cannot be read ({error})") from None
    else:
        raise unknown("configuration", source, [*shipped(), "a path that ends in .yaml"])
    try:
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = str(error).replace("\n", " ")
        raise MoldiffError(f"configuration {source}: not YAML ({line})") from None
    if not isinstance(settings, dict):
        raise MoldiffError(f"configuration {source}: got {type(settings).__name__}, needs key: value")
    return settings


def _apply(settings: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise MoldiffError(f"override: got {override!r}, write it as key=value, for example seed=1")
    *sections, last = key.split(".")
    for section in sections:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise MoldiffError(f"override: got {override!r}, but {section} has no keys below it")
    try:
        settings[last] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        settings[last] = value
