"""Published classifiers of noisy rows: loaded, and checked against the model that one is to guide."""

from __future__ import annotations

from typing import Protocol, final

import torch

from moldiff.assembly import (
    build_classifier,
    build_process,
    build_tokenizer,
    misfit,
    network_config,
    pick_device,
)
from moldiff.checkpoint import Card, Checkpoint, find
from moldiff.diffusion.process import Formulation
from moldiff.errors import MoldiffError
from moldiff.nn.classifier import Classifier
from moldiff.targets import Table, table_of


class Guidable(Protocol):
    """A model that a classifier may guide."""

    @property
    def card(self) -> Card:
        """Its facts."""
        ...

    @property
    def process(self) -> Formulation:
        """What it was trained on."""
        ...


@final
class NoisyClassifier:
    """A classifier ready to be asked.

    Raises:
        MoldiffError: a model that generates, weights that do not fit their card, or no such device.
    """

    def __init__(self, source: Checkpoint, device: str = "auto") -> None:
        card = source.card
        if card.kind != "classifier":
            raise MoldiffError(
                f"classifier {card.name}: it is a {card.kind}, to generate from; "
                "train a classifier with moldiff train classifier data.path=FILE"
            )
        self.card = card
        self.device: torch.device = pick_device(device)
        tokens = build_tokenizer(card.config.data.modality, card.tokenizer).vocab_size
        self.process = build_process(card.config, tokens)
        if self.process.timed and not card.config.network.time:
            raise MoldiffError(
                f"classifier {card.name}: it was trained on {card.config.process.name} noise without the "
                "time; train it with network.time=true"
            )
        self.network = self._network(source).to(self.device).eval()
        self.network.requires_grad_(False)
        self.table: Table = table_of(source.part("table"), card.table, card.name)

    def _network(self, source: Checkpoint) -> Classifier:
        card, weights = source.card, source.part("network")
        size = network_config(card.config, self.process, card.max_length, card.conditions)
        fault = misfit(size, weights, Classifier)
        if fault is not None:
            raise MoldiffError(f"classifier {card.name}: its weights do not fit its card ({fault})")
        network = build_classifier(card.config, self.process, card.max_length, card.conditions)
        network.load_state_dict(weights)
        return network

    def check(self, model: Guidable) -> None:
        """Refuses a model whose rows this classifier cannot read; the error names what would work."""
        ours, theirs = self.card, model.card
        if ours.config.process.name != theirs.config.process.name:
            name = theirs.config.process.name
            raise self._unlike(f"reads {ours.config.process.name} rows", f"process.name={name}")
        if ours.tokenizer != theirs.tokenizer:
            raise self._unlike("has another vocabulary", "the data of the model")
        if ours.config.network.time and ours.config.process != theirs.config.process:
            raise self._unlike("was told the times of another schedule", "the process of the model")
        if ours.max_length < theirs.max_length:
            raise self._unlike(f"takes rows up to {ours.max_length} tokens", "the data of the model")

    def _unlike(self, what: str, cure: str) -> MoldiffError:
        return MoldiffError(
            f"classifier {self.card.name}: it {what}, unlike the model; train one with {cure}"
        )


def load_classifier(name: str, device: str = "auto") -> NoisyClassifier:
    """The classifier of a bundled name or in a folder.

    Raises:
        MoldiffError: no such model, one that is no classifier, or a damaged one.
    """
    return NoisyClassifier(Checkpoint.load(find(name)), device)
