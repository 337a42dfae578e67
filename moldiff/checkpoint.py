"""Published models: a folder with model.safetensors (arrays) and card.json (facts); nothing is unpickled."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Literal, Self, final

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_arrays
from safetensors.torch import save as save_arrays
from torch import Tensor

from moldiff.conditions import ConditionSpec
from moldiff.config import Setting, TrainConfig, explain
from moldiff.errors import MoldiffError, unknown
from moldiff.files import written

FORMAT = 1
WEIGHTS, CARD = "model.safetensors", "card.json"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(_Section):
    """A measured figure: its mean and standard error over seeds, and the command that measures it."""

    name: str
    setting: str
    mean: float
    se: float | None
    seeds: tuple[int, ...]
    samples: int
    command: str


class Card(_Section):
    """The facts of a model, readable without its weights."""

    format: int = FORMAT
    name: str
    description: str = ""
    license: str = ""
    sha256: str
    parameters: int
    max_length: int = Field(ge=1)
    tokenizer: dict[str, Any]
    conditions: tuple[ConditionSpec, ...]
    length: Literal["empirical", "padded"]
    table: tuple[str, ...]
    config: TrainConfig
    training: dict[str, Any]
    versions: dict[str, str]
    default: Setting
    metrics: tuple[Metric, ...] = ()

    @model_validator(mode="after")
    def _conditions_can_be_asked_for(self) -> Self:
        for condition in self.conditions:
            unknown_facts = [key for key, value in condition if value is None]
            if unknown_facts:
                raise ValueError(f"condition {condition.name} lacks {', '.join(unknown_facts)}")
            if condition.name not in self.table:
                raise ValueError(f"the table lacks condition {condition.name}")
        return self


@final
@dataclass(frozen=True)
class Checkpoint:
    """A card and its arrays: ``network.*`` weights, ``table.*`` facts by row, ``reference.*`` for novelty."""

    card: Card
    arrays: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The arrays of one part, without its prefix."""
        return {
            name.removeprefix(prefix + "."): array
            for name, array in self.arrays.items()
            if name.startswith(prefix + ".")
        }

    def save(self, folder: Path) -> None:
        """Writes both files into a folder, each whole or not at all."""
        data = save_arrays({name: array.contiguous() for name, array in self.arrays.items()})
        card = self.card.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
        folder.mkdir(parents=True, exist_ok=True)
        with written(folder / WEIGHTS) as part:
            part.write_bytes(data)
        with written(folder / CARD) as part:
            part.write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The checkpoint in ``folder``; MoldiffError where it is missing, damaged, mismatched or newer."""
        card = read_card(folder)
        data = _read(folder / WEIGHTS)
        found = hashlib.sha256(data).hexdigest()
        if found != card.sha256:
            raise MoldiffError(
                f"model {folder}: {WEIGHTS} has sha256 {found[:12]}..., its card says {card.sha256[:12]}...: "
                "damaged, or of another model"
            )
        try:
            return cls(card, load_arrays(data))
        except (SafetensorError, ValueError) as error:
            raise MoldiffError(f"model {folder}: {WEIGHTS} cannot be read ({error})") from None


def read_card(folder: Path) -> Card:
    """The card in ``folder``; MoldiffError where it is missing, damaged or newer."""
    path = folder / CARD
    try:
        facts = json.loads(_read(path))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MoldiffError(f"model {folder}: {CARD} is not JSON ({error})") from None
    version = facts.get("format") if isinstance(facts, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise MoldiffError(
            f"model {folder}: got format {version}, this version reads up to {FORMAT}; upgrade moldiff"
        )
    try:
        return Card.model_validate(facts)
    except ValidationError as error:
        raise MoldiffError(f"model {folder}: {CARD}: {explain(error)}") from None


def find(model: str) -> Path:
    """The folder of a bundled model's name or of a path."""
    names = bundled()
    if model in names:
        return names[model]
    # os.path's test, unlike pathlib's, is also false for what cannot be a path.
    if os.path.isdir(model):
        return Path(model)
    raise unknown("model", model, [*names, "a folder with " + CARD])


def bundled() -> dict[str, Path]:
    """The models that come with the package, by name."""
    folder = Path(str(resources.files("moldiff.weights")))
    return {p.parent.name: p.parent for p in sorted(folder.glob(f"*/{CARD}"))}


def versions() -> dict[str, str]:
    """Versions of what a result depends on, as far as it is installed."""
    found = {"python": platform.python_version()}
    for name in ("moldiff", "torch", "rdkit", "numpy", "lightning"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def published(network: torch.nn.Module) -> dict[str, Tensor]:
    """A network's weights as they are stored: bfloat16, half the bytes."""
    return {
        f"network.{name}": value.detach().to("cpu", torch.bfloat16)
        for name, value in network.state_dict().items()
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MoldiffError(f"model file {path}: cannot be read ({error.strerror or error})") from None
