"""Published models: a folder with model.safetensors (arrays) and card.json (facts); nothing is unpickled."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Mapping
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
from moldiff.files import check_source, written

FORMAT = 1
WEIGHTS, CARD = "model.safetensors", "card.json"
#: How weights are stored: half the bytes.
STORED = torch.bfloat16
#: Arrays that every model has: tokens a training row, hashes of all rows, and which of these were trained on.
LENGTHS, HASHES, IN_TRAIN = "table.lengths", "reference.hashes", "reference.in_train"
#: Lists and objects in lists and objects, at most; a card needs four.
LEVELS = 16
#: What the names of a network's arrays begin with. All other arrays are facts of the data.
NETWORK = "network."


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


class Reliability(_Section):
    """How a classifier does on held-out rows at one noise level.

    Attributes:
        name: the label.
        t: the noise level; for a causal classifier, the share of each row that it did not see.
        rows: how many were asked about.
        base_rate: the share of them in class 1.
        auc: the area under the receiver operating characteristic; None where all rows are of one class.
        calibration_error: the mean distance of the predicted chance from the share seen, over the bins.
        cross_entropy: in nats a row.
        bins: of predicted chances, those that hold any row: rows, mean chance, share in class 1.
    """

    name: str
    t: float
    rows: int
    base_rate: float
    auc: float | None
    calibration_error: float
    cross_entropy: float
    bins: tuple[tuple[int, float, float], ...]


class Accuracy(_Section):
    """How near a classifier comes to a number on held-out rows at one noise level.

    Attributes:
        name: the number.
        t: the noise level; for a causal classifier, the share of each row that it did not see.
        rows: how many were asked about.
        spread: the standard deviation of the number over them, in its own units.
        error: the root mean square of what the told mean is off, in the same units.
        within: the share of rows no farther off than the told standard deviation; .68 for normal errors.
    """

    name: str
    t: float
    rows: int
    spread: float
    error: float
    within: float


class GuidedBy(_Section):
    """The classifier that guides a model where something is asked and not said how, and how it does.

    Attributes:
        classifier: its bundled name.
        scale: the exponent of what it says.
        cfg_scale: the scale at which the model itself is told too; 0 does not tell it.
        top_p: the mass of the tokens that it is asked about, of masks.
    """

    classifier: str
    scale: float = Field(default=1.0, ge=0)
    cfg_scale: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)


class Origin(_Section):
    """The model that a fine-tuned one started from, and the tokens that its data added to the vocabulary."""

    name: str
    sha256: str
    tokens_added: tuple[str, ...] = ()


class Shared(_Section):
    """The model whose table and reference are those of this one too, and the sha256 of these arrays."""

    of: str = Field(pattern=r"^[0-9A-Za-z_][0-9A-Za-z_.-]*$")
    sha256: str


class Card(_Section):
    """The facts of a model, readable without its weights."""

    format: int = FORMAT
    name: str
    description: str = ""
    license: str = ""
    sha256: str
    parameters: int = Field(ge=1)
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
    reliability: tuple[Reliability, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    origin: Origin | None = None
    shared: Shared | None = None
    guided_by: GuidedBy | None = None

    @property
    def kind(self) -> Literal["denoiser", "classifier"]:
        """What the model is: one generates from a denoiser, a classifier guides one."""
        return self.config.task

    @property
    def corrects(self) -> bool:
        """Whether it was trained to correct itself."""
        return self.config.correction is not None and self.config.correction.weight > 0

    @model_validator(mode="after")
    def _conditions_can_be_asked_for(self) -> Self:
        for condition in self.conditions:
            unknown_facts = [
                key for key, value in condition if value is None and key not in condition.optional
            ]
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

    def save(self, folder: Path, like: Path | None = None) -> None:
        """Writes both files into a folder, each whole or not at all; refuses what ``load`` would refuse.

        Args:
            folder: where.
            like: the folder of a model of the same data, by whose name ``load`` finds the table and the
                reference; they are left out then.

        Raises:
            MoldiffError: arrays that the card does not describe, or that are not those of ``like``.
        """
        fault = unsound(self.card, self.arrays)
        if fault is not None:
            raise MoldiffError(f"model {folder}: cannot be published ({fault})")
        shared, arrays = None, self.arrays
        if like is not None:
            shared = Shared(of=like.resolve().name, sha256=_digest(arrays))
            _of_donor(folder, like, shared)
            arrays = {name: array for name, array in arrays.items() if name.startswith(NETWORK)}
        data = save_arrays({name: array.contiguous() for name, array in arrays.items()})
        facts = {"sha256": hashlib.sha256(data).hexdigest(), "shared": shared}
        card = self.card.model_copy(update=facts)
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
            arrays = load_arrays(data)
        except (SafetensorError, ValueError, KeyError) as error:
            raise MoldiffError(f"model {folder}: {WEIGHTS} cannot be read ({error})") from None
        if card.shared is not None:
            own = [name for name in sorted(arrays) if not name.startswith(NETWORK)]
            if own:
                raise MoldiffError(
                    f"model {folder}: {WEIGHTS} has {own[0]}, its card says {card.shared.of} has"
                )
            arrays |= _of_donor(folder, _donor(folder, card.shared), card.shared)
        fault = unsound(card, arrays)
        if fault is not None:
            raise MoldiffError(f"model {folder}: {WEIGHTS} is not what its card describes ({fault})")
        return cls(card, arrays)


def _donor(folder: Path, shared: Shared) -> Path:
    """The folder of the model that a model shares the facts of its data with: beside it, or bundled."""
    beside = folder.resolve().parent / shared.of
    found = beside if (beside / CARD).is_file() else bundled().get(shared.of)
    if found is None:
        where = "which is neither beside it nor bundled"
        raise MoldiffError(f"model {folder}: its table and reference are those of {shared.of}, {where}")
    return found


def _of_donor(folder: Path, donor: Path, shared: Shared) -> dict[str, Tensor]:
    """The facts of the data in a donor's folder; MoldiffError where they are not those that a card names."""
    said = f"model {folder}: its table and reference are those of {shared.of}"
    # A donor of donors could be a circle.
    if read_card(donor).shared is not None:
        raise MoldiffError(f"{said}, which has none of its own")
    arrays = Checkpoint.load(donor).arrays
    found = _digest(arrays)
    if found != shared.sha256:
        raise MoldiffError(
            f"{said} with sha256 {shared.sha256[:12]}..., which has others (sha256 {found[:12]}...)"
        )
    return {name: array for name, array in arrays.items() if not name.startswith(NETWORK)}


def _digest(arrays: Mapping[str, Tensor]) -> str:
    """The sha256 of all arrays but the network's: their names, types, shapes and numbers."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        if not name.startswith(NETWORK):
            array = arrays[name].contiguous().numpy()
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


def read_card(folder: Path) -> Card:
    """The card in ``folder``; MoldiffError where it is missing, damaged or newer."""
    return parse_card(_read(folder / CARD), f"model {folder}: {CARD}")


def parse_card(text: bytes, where: str) -> Card:
    """The card that a text holds as JSON; MoldiffError, which names ``where``, for any other text."""
    try:
        facts = json.loads(text.decode("utf-8"))
        # What JSON writes but no file or terminal takes: infinite numbers, half a character.
        json.dumps(facts, allow_nan=False, ensure_ascii=False).encode("utf-8")
    # A ValueError that is none of JSON's own: a number of more digits than Python reads.
    except (ValueError, RecursionError) as error:
        raise MoldiffError(f"{where} is not JSON ({error})") from None
    if not isinstance(facts, dict) or _deeper(facts, LEVELS):
        raise MoldiffError(f"{where} is not a card: it needs an object, at most {LEVELS} levels deep")
    version = facts.get("format")
    if type(version) is not int or version != FORMAT:
        upgrade = "; upgrade moldiff" if type(version) is int and version > FORMAT else ""
        got = repr(version)[:40]
        raise MoldiffError(f"{where}: got format {got}, this version reads up to {FORMAT}{upgrade}")
    try:
        return Card.model_validate(facts)
    except ValidationError as error:
        raise MoldiffError(f"{where}: {explain(error)}") from None


def _deeper(value: Any, levels: int) -> bool:
    """Whether a value holds lists or objects more than ``levels`` deep."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _deeper(each, levels - 1) for each in inner)


def unsound(card: Card, arrays: Mapping[str, Tensor]) -> str | None:
    """How arrays are not those of a published model with this card, None where they are.

    Whether the weights have the shapes of the card's network is for ``assembly.misfit`` to say.
    """
    kinds = {name: STORED for name in arrays if name.startswith(NETWORK)}
    count = sum(arrays[name].numel() for name in kinds)
    kinds |= {LENGTHS: torch.int16, **{f"table.{name}": torch.float16 for name in card.table}}
    kinds |= {HASHES: torch.int64, IN_TRAIN: torch.bool}
    for name in sorted(arrays.keys() | kinds.keys()):
        if name not in arrays:
            return "its {} lacks {}".format(*name.split(".", 1))
        if arrays[name].dtype != kinds.get(name):
            return f"{name} is {arrays[name].dtype}, expected {kinds.get(name, 'no such array')}"
    for name in sorted(kinds):
        rows = arrays[HASHES if name.startswith("reference.") else LENGTHS].numel()
        if not name.startswith(NETWORK) and (arrays[name].shape != (rows,) or rows == 0):
            return f"{name} has the shape {tuple(arrays[name].shape)}, expected one row an item"
        if name.startswith(NETWORK) and not arrays[name].isfinite().all():
            return f"{name} holds numbers that are not finite"
    if count != card.parameters:
        return f"it holds {count} weights, expected {card.parameters}"
    if int(arrays[LENGTHS].min()) < 1 or int(arrays[LENGTHS].max()) > card.max_length:
        return f"{LENGTHS} holds lengths outside 1 to {card.max_length}"
    empty = [name for name in card.table if arrays[f"table.{name}"].isnan().all()]
    if empty:
        return f"table.{empty[0]} holds no value"
    hashes = arrays[HASHES]
    return None if (hashes[:-1] <= hashes[1:]).all() else f"{HASHES} is not in order"


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
    """A network's weights as they are stored."""
    return {
        f"{NETWORK}{name}": value.detach().to("cpu", STORED) for name, value in network.state_dict().items()
    }


def _read(path: Path) -> bytes:
    check_source(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise MoldiffError(f"model file {path}: cannot be read ({error.strerror or error})") from None
