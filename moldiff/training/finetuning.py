"""Where a run starts: from scratch, or from a model that exists, fitted to the new data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from moldiff import registry
from moldiff.assembly import build_process, build_tokenizer, misfit, network_config
from moldiff.checkpoint import Card, Checkpoint, Origin, find, parse_card, read_card
from moldiff.conditions import ConditionSpec
from moldiff.config import DataConfig, NetworkConfig, ProcessConfig, TrainConfig
from moldiff.errors import MoldiffError
from moldiff.nn.classifier import Classifier
from moldiff.nn.growth import borrow, grow
from moldiff.nn.transformer import Transformer, TransformerConfig
from moldiff.training.resuming import read_state

Floats = NDArray[np.float64]
Conditions = tuple[ConditionSpec, ...]
Network = Transformer | Classifier


class Start(Protocol):
    """What a run takes from where it starts."""

    @property
    def card(self) -> Card | None:
        """The card of the model it starts from; None from scratch."""
        ...

    def settings(self, config: TrainConfig) -> TrainConfig:
        """The configuration, completed; MoldiffError where the start cannot become what it asks for."""
        ...

    def tokens(self, data: Any) -> Any:
        """The token file in the run's vocabulary; MoldiffError where its tokens are of another kind."""
        ...

    def conditions(self, fitted: Conditions, properties: dict[str, Floats]) -> Conditions:
        """Conditions that were fitted on the data, with the statistics that the weights stand for."""
        ...

    def places(self, longest: int) -> int:
        """The longest row of the network, for data with rows up to ``longest``."""
        ...

    def fill(self, network: Network, conditions: Conditions) -> None:
        """Gives a fresh network its first weights."""
        ...

    def origin(self, data: Any) -> Origin | None:
        """What the new model's card says of the start, for data in the run's vocabulary."""
        ...

    def line(self, data: Any, conditions: Conditions) -> str | None:
        """One line on what was taken over and what is new; None where there is nothing to say."""
        ...


@final
@dataclass(frozen=True)
class Scratch:
    """Nothing to start from: fresh weights, statistics of the data."""

    card: Card | None = None

    def settings(self, config: TrainConfig) -> TrainConfig:
        return config

    def tokens(self, data: Any) -> Any:
        return data

    def conditions(self, fitted: Conditions, properties: dict[str, Floats]) -> Conditions:
        return fitted

    def places(self, longest: int) -> int:
        return longest

    def fill(self, network: Network, conditions: Conditions) -> None:
        """Leaves the network fresh."""

    def origin(self, data: Any) -> Origin | None:
        return None

    def line(self, data: Any, conditions: Conditions) -> str | None:
        return None


@final
@dataclass(frozen=True)
class FromModel:
    """A published model to start from.

    Args:
        card: its card.
        weights: its weights; empty where the run is resumed, whose weights come from its own checkpoint.
    """

    card: Card
    weights: dict[str, Tensor]

    def settings(self, config: TrainConfig) -> TrainConfig:
        """The configuration with the model's network, and the model's word on what it leaves out."""
        card, given = self.card, config.model_fields_set
        left = {key: getattr(card.config, key) for key in ("conditions", "condition_dropout", "correction")}
        return config.model_copy(
            update={
                **{key: value for key, value in left.items() if key not in given},
                "data": _data(config.data, card),
                "network": _network(config.network, card),
                "process": _process(config.process, card) if "process" in given else card.config.process,
                "default": config.default if "default" in given else card.default,
            }
        )

    def tokens(self, data: Any) -> Any:
        """The tokens under the model's ids; tokens that are new to it follow its own, in the data's order."""
        card, modality = self.card, data.info["modality"]
        ours, theirs = self._tokenizer.state(), build_tokenizer(modality, data.info["tokenizer"])
        found = theirs.state()
        if (card.config.data.modality, _kind(ours)) != (modality, _kind(found)):
            raise MoldiffError(
                f"--init-from: the tokens of {card.name} are {card.config.data.modality} {_kind(ours)}, "
                f"of the data {modality} {_kind(found)}"
            )
        if "vocab" not in ours:
            return data
        known = set(ours["vocab"])
        vocab = [*ours["vocab"], *(token for token in found["vocab"] if token not in known)]
        place = {token: number for number, token in enumerate(vocab)}
        # Ids behind the vocabulary, such as the padding's, stay behind it.
        behind = range(len(vocab), len(vocab) + theirs.vocab_size - len(found["vocab"]))
        ids = np.array([*(place[token] for token in found["vocab"]), *behind], dtype=data.tokens.dtype)
        return replace(
            data, tokens=ids[data.tokens], info={**data.info, "tokenizer": {**found, "vocab": vocab}}
        )

    def conditions(self, fitted: Conditions, properties: dict[str, Floats]) -> Conditions:
        """A number keeps the model's mean and spread, a class of the same quantile the model's threshold.

        The range of a number and the share of a class are the new data's.
        """
        return tuple(
            spec if slot is None else _kept(spec, self.card.conditions[slot], properties[spec.name])
            for spec, slot in zip(fitted, self._slots(fitted), strict=True)
        )

    def places(self, longest: int) -> int:
        """The longest row of the data or of the model."""
        return max(longest, self.card.max_length)

    def fill(self, network: Network, conditions: Conditions) -> None:
        """Gives a network the model's weights."""
        if self.weights and isinstance(network, Transformer):
            grow(network, self.weights, self._known, self._slots(conditions))

    def origin(self, data: Any) -> Origin:
        """The model's name and hash, and the tokens that the data added."""
        added = data.info["tokenizer"].get("vocab", [])[self._known :]
        return Origin(name=self.card.name, sha256=self.card.sha256, tokens_added=tuple(added))

    def line(self, data: Any, conditions: Conditions) -> str:
        """The model's name and hash, tokens added, longer rows, conditions kept and new."""
        origin, longest = self.origin(data), self.places(int(data.lengths.max()))
        added, before = origin.tokens_added, self.card.max_length
        slots = self._slots(conditions)
        kept = len([slot for slot in slots if slot is not None])
        return (
            f"from {origin.name} (sha256 {origin.sha256[:12]}): "
            f"{len(added)} tokens added"
            + (f": {' '.join(added)}; " if added else "; ")
            + (f"rows up to {longest} tokens, {before} before; " if longest > before else "")
            + f"conditions: {kept} kept, {len(slots) - kept} new, "
            f"{len(self.card.conditions) - len(set(slots) - {None})} given up"
        )

    @cached_property
    def _tokenizer(self) -> Any:
        return build_tokenizer(self.card.config.data.modality, self.card.tokenizer)

    @property
    def _known(self) -> int:
        """The number of ids that keep their place."""
        return len(self._tokenizer.state().get("vocab", range(self._tokenizer.vocab_size)))

    def _slots(self, conditions: Conditions) -> list[int | None]:
        """For each condition, the model's slot of the same kind and name; None where it has none."""
        places = {(c.kind, c.name): number for number, c in enumerate(self.card.conditions)}
        return [places.get((c.kind, c.name)) for c in conditions]


@final
@dataclass(frozen=True)
class Guide:
    """A published model that a classifier is to guide: its vocabulary and, where they fit, its first blocks.

    Args:
        card: its card.
        weights: its weights; empty where the run is resumed.
    """

    card: Card
    weights: dict[str, Tensor]

    def settings(self, config: TrainConfig) -> TrainConfig:
        """The configuration with the model's kind of tokens; MoldiffError where it asks for another noise."""
        theirs = self.card.config.process
        if config.process.name != theirs.name:
            got = f"got {config.process.name}, but {self.card.name} is {theirs.name}"
            raise MoldiffError(f"process.name: {got}")
        # An answer that is told the time has to be told it by the model's schedule.
        process = theirs if config.network.time else config.process
        return config.model_copy(update={"data": _data(config.data, self.card), "process": process})

    def tokens(self, data: Any) -> Any:
        """The tokens under the model's ids; MoldiffError where the model lacks some of them."""
        own = FromModel(self.card, {})
        found = own.tokens(data)
        added = own.origin(found).tokens_added
        if added:
            raise MoldiffError(
                f"--init-from: the data have tokens that {self.card.name} lacks: {' '.join(added)}"
            )
        return found

    def conditions(self, fitted: Conditions, properties: dict[str, Floats]) -> Conditions:
        return fitted

    def places(self, longest: int) -> int:
        return max(longest, self.card.max_length)

    def fill(self, network: Network, conditions: Conditions) -> None:
        """Gives a classifier of the model's width its embeddings and first blocks; leaves another fresh."""
        if self.weights and isinstance(network, Classifier) and self._fits(network.config):
            borrow(network, self.weights)

    def origin(self, data: Any) -> Origin:
        """The model's name and hash."""
        return Origin(name=self.card.name, sha256=self.card.sha256)

    def line(self, data: Any, conditions: Conditions) -> str:
        """The model's name and hash."""
        return f"to guide {self.card.name} (sha256 {self.card.sha256[:12]}), in its vocabulary"

    def _fits(self, size: TransformerConfig) -> bool:
        """Whether the model's blocks are those of a network of this size."""
        own = self.card.config.network
        return (own.width, own.heads) == (size.width, size.heads)


def start(init_from: str | None, task: str = "denoiser") -> Start:
    """Where a new run starts: from the model of a bundled name or in a folder, or from scratch.

    Raises:
        MoldiffError: no such model, or a damaged one.
    """
    if init_from is None:
        return Scratch()
    source = Checkpoint.load(find(init_from))
    card, weights = source.card, source.part("network")
    if card.kind != "denoiser":
        raise MoldiffError(
            f"--init-from: got {init_from}, which is a {card.kind}; name a model that generates"
        )
    tokenizer = build_tokenizer(card.config.data.modality, card.tokenizer)
    process = build_process(card.config, tokenizer.vocab_size)
    fault = misfit(network_config(card.config, process, card.max_length, card.conditions), weights)
    if fault is not None:
        raise MoldiffError(f"model {card.name}: its weights do not fit its card ({fault})")
    return _start(card, weights, task)


def resumed(checkpoint: Path, init_from: str | None, task: str = "denoiser") -> Start:
    """Where the run with this training checkpoint started; the model itself need not be there any more.

    Raises:
        MoldiffError: ``init_from`` is there and is another model.
    """
    text = read_state(checkpoint).get("origin")
    if text is None:
        if init_from is None:
            return Scratch()
        raise MoldiffError(f"--init-from: got {init_from}, but this run started from scratch; leave it out")
    card = parse_card(str(text).encode("utf-8", "replace"), f"checkpoint {checkpoint}")
    if init_from is not None and _sha256(init_from) not in (card.sha256, None):
        raise MoldiffError(f"--init-from: got {init_from}, but this run started from another, {card.name}")
    return _start(card, {}, task)


def _start(card: Card, weights: dict[str, Tensor], task: str) -> Start:
    """What a run of a task takes from a model."""
    return Guide(card, weights) if task == "classifier" else FromModel(card, weights)


def _sha256(model: str) -> str | None:
    """The hash on a model's card; None where there is no such model."""
    try:
        return read_card(find(model)).sha256
    except MoldiffError:
        return None


def _data(data: DataConfig, card: Card) -> DataConfig:
    """The data settings with the model's kind of tokens; MoldiffError where they say otherwise."""
    source, given = card.config.data, data.model_fields_set
    kind = {
        "modality": source.modality,
        "tokenizer": registry.tokenizer_name(source.modality, card.tokenizer.get("name")),
        "length": source.length,
    }
    for key, theirs in kind.items():
        ours = getattr(data, key)
        if key in given and ours is not None and ours != theirs:
            raise MoldiffError(f"data.{key}: got {ours}, but {card.name} has {theirs}; leave it out")
    pad_to = data.pad_to if data.length == source.length and "length" in given else source.pad_to
    return data.model_copy(update={**kind, "pad_to": pad_to})


def _network(network: NetworkConfig, card: Card) -> NetworkConfig:
    """The model's network with the dropout and depth that are asked for; MoldiffError where it cannot be."""
    source = card.config.network
    asked = network.model_dump(include=network.model_fields_set)
    for key, value in asked.items():
        theirs = getattr(source, key)
        if key == "depth" and value < theirs:
            raise MoldiffError(f"network.depth: got {value}, but {card.name} has {theirs}; it can only grow")
        if key not in ("dropout", "depth") and value != theirs:
            raise MoldiffError(
                f"network.{key}: got {value}, but {card.name} has {theirs}; leave network out (network={{}})"
            )
    return source.model_copy(update=asked)


def _process(process: ProcessConfig, card: Card) -> ProcessConfig:
    """The process that is asked for; MoldiffError where the model's weights are of another."""
    if process.name != card.config.process.name:
        raise MoldiffError(f"process.name: got {process.name}, but {card.name} is {card.config.process.name}")
    return process


def _kept(spec: ConditionSpec, old: ConditionSpec, values: Floats) -> ConditionSpec:
    """A fitted condition with those statistics of the model's by which its weights know a value (N,)."""
    if spec.kind == "numeric" and old.kind == "numeric":
        return spec.model_copy(update={"mean": old.mean, "std": old.std})
    if spec.kind == "class" and old.kind == "class" and spec.quantile == old.quantile:
        kept = spec.model_copy(update={"threshold": old.threshold})
        return kept.model_copy(update={"base_rate": float(np.nanmean(kept.encode(values)))})
    if spec.kind == "category" and old.kind == "category":
        if spec.classes > old.classes:
            got = f"got {spec.classes} categories, the model to start from knows {old.classes}"
            raise MoldiffError(f"condition {spec.name!r}: {got}")
        # As many as its weights know; those that the data lack have no share.
        shares = (*(spec.shares or ()), *[0.0] * (old.classes - spec.classes))
        return spec.model_copy(update={"shares": shares})
    return spec


def _kind(state: dict[str, Any]) -> dict[str, Any]:
    """What makes tokens of one kind: all of a tokenizer's state but the tokens and the padded length."""
    rest = {key: value for key, value in state.items() if key not in ("vocab", "pad_to")}
    return {**rest, "padded": state.get("pad_to") is not None}
