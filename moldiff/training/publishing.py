"""Publishing: a trained network and what it was trained on, as a model that others can load."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moldiff.checkpoint import HASHES, IN_TRAIN, LENGTHS, Card, Checkpoint, Origin, published, versions
from moldiff.conditions import ConditionSpec
from moldiff.config import TrainConfig
from moldiff.nn.classifier import Classifier
from moldiff.nn.transformer import Transformer
from moldiff.training.intake import settings

#: What a token file says of its source and the card repeats.
_KEPT = ("source", "source_sha256", "rejected", "duplicates", "altered", "writings", "unwritten")
#: Training rows in the table that targets are looked up in, at most; of more, so many drawn at random.
TABLE_ROWS = 2**17


def run_facts(config: TrainConfig, data: Any, steps_per_epoch: int, held_out: float | None) -> dict[str, Any]:
    """What a card says of a run."""
    steps, tokens = config.max_steps, int(data.lengths[~data.heldout].sum())
    return {
        "steps": steps,
        "tokens": steps * tokens // steps_per_epoch,
        "epochs": round(steps / steps_per_epoch, 2),
        ("heldout_nats_per_row" if config.task == "classifier" else "heldout_nats_per_token"): held_out,
        "rows": len(data),
        "heldout_rows": int(data.heldout.sum()),
        **{key: data.info[key] for key in _KEPT if key in data.info},
    }


def publish(
    config: TrainConfig,
    data: Any,
    conditions: tuple[ConditionSpec, ...],
    network: Transformer | Classifier,
    facts: dict[str, Any],
    origin: Origin | None = None,
) -> Checkpoint:
    """The published form of a trained network: weights, the table targets need, and the novelty reference."""
    train = ~data.heldout
    names = tuple(dict.fromkeys(c.name for c in conditions))
    rows = _sample(np.flatnonzero(train))
    arrays = {
        **published(network),
        LENGTHS: torch.from_numpy(data.lengths[rows].astype(np.int16)),
        # Half precision keeps three digits, more than a target needs, in half the bytes.
        **{f"table.{n}": torch.from_numpy(data.properties[n][rows]).half() for n in names},
        **{name: torch.from_numpy(array) for name, array in novelty(data).items()},
    }
    # A path is of the machine that trained, not of the model.
    made_with = config.data.model_copy(update={"path": None, **settings(data)})
    card = Card(
        name=config.out.resolve().name,
        description=config.description,
        license=config.license,
        sha256="",
        parameters=sum(p.numel() for p in network.parameters()),
        max_length=network.config.max_length,
        tokenizer=data.info["tokenizer"],
        conditions=conditions,
        length=config.data.length,
        table=names,
        config=config.model_copy(update={"out": TrainConfig().out, "data": made_with}),
        training=facts,
        versions={**versions(), "rdkit": str(data.info.get("rdkit", "unknown"))},
        default=config.default,
        origin=origin,
    )
    return Checkpoint(card, arrays)


def novelty(data: Any) -> dict[str, NDArray[Any]]:
    """The items of a token file as hashes in order, and which of them are trained on."""
    distinct = data.distinct()
    return {HASHES: data.identities[distinct], IN_TRAIN: ~data.heldout[distinct]}


def _sample(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most ``TABLE_ROWS`` of the rows, in order."""
    if len(rows) <= TABLE_ROWS:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, TABLE_ROWS, replace=False))
