"""Training: configuration and token file in, published model out; Lightning runs the loop."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning

from moldiff.assembly import (
    build_classifier,
    build_network,
    build_process,
    build_tokenizer,
    pick_device,
)
from moldiff.checkpoint import CARD, Checkpoint
from moldiff.conditions import fit_all
from moldiff.config import TrainConfig
from moldiff.diffusion.classification import FRAME
from moldiff.errors import MoldiffError
from moldiff.nn.classifier import Classifier
from moldiff.nn.compilation import compile_blocks, compiles
from moldiff.nn.transformer import Transformer
from moldiff.training import finetuning
from moldiff.training.calibration import reliability
from moldiff.training.intake import data_module, keep, launched, properties, read_tokens, summary
from moldiff.training.publishing import publish, run_facts
from moldiff.training.rehearsal import rehearse
from moldiff.training.resuming import check_state, latest_checkpoint
from moldiff.training.reward import policy_of
from moldiff.training.trainee import Trainee
from moldiff.training.trainer import build_trainer, lightning_as_a_guest


def run(
    config: TrainConfig,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
    init_from: str | None = None,
) -> Checkpoint:
    """Trains a configuration and publishes the model in its folder; ``say`` is told what is read.

    Args:
        init_from: the model to start from, a bundled name or a folder; None starts from scratch. A
            classifier takes over what goes with the model that it is to guide.

    Raises:
        MoldiffError: no data, nothing to resume, a run already there and ``resume`` not asked for, or a model
            to start from that is not there or cannot become what the configuration asks for.
        KeyboardInterrupt: from the keyboard; the run can be resumed from its last checkpoint.
    """
    checkpoint = _checkpoint(config, resume)
    if checkpoint is None:
        start = finetuning.start(init_from, config.task)
    else:
        start = finetuning.resumed(checkpoint, init_from, config.task)
    config = start.settings(config)
    rehearse(config)
    trainer = build_trainer(config)
    found = read_tokens(config, resume)
    data = start.tokens(found)
    fitted = fit_all(config.conditions, properties(data), ~data.heldout)
    conditions = start.conditions(fitted, properties(data))
    network = _network(config, start, data, conditions)
    process = build_process(config, _tokens(data))
    policy = policy_of(data, config, process, conditions)
    trainee = Trainee(network, process, config, data.fingerprint(), start.card, policy)
    if checkpoint is not None:
        check_state(checkpoint, trainee.shared, trainee.state_dict(), trainee.ema.state_dict())
    module = data_module(data, config, conditions)
    keep(found, config)
    if not launched():
        for line in filter(None, (summary(data), start.line(data, conditions))):
            say(line)
    with lightning_as_a_guest(), policy or nullcontext():
        _fit(trainer, trainee, module, checkpoint)
        held_out = _held_out(trainer, trainee, module)
    trainee.ema.swap(network)
    facts = run_facts(config, data, module.steps_per_epoch, held_out)
    published = publish(config, data, conditions, network, facts, start.origin(data))
    if isinstance(network, Classifier):
        found_on = reliability(network, process, data, conditions)
        published = replace(published, card=published.card.model_copy(update=found_on))
    if trainer.is_global_zero:
        published.save(config.out)
    return published


def _checkpoint(config: TrainConfig, resume: bool) -> Path | None:
    """The checkpoint to go on from, None for a new run; MoldiffError where the folder does not suit."""
    out = config.out
    checkpoint = latest_checkpoint(out / "checkpoints")
    if resume and checkpoint is None:
        raise MoldiffError(f"--resume: got {out}, which holds no checkpoint; leave it out to start")
    if not resume and (checkpoint is not None or os.path.exists(out / CARD)):
        raise MoldiffError(f"out: got {out}, which holds a run; add --resume or choose another folder")
    return checkpoint


def _network(
    config: TrainConfig, start: finetuning.Start, data: Any, conditions: finetuning.Conditions
) -> Transformer | Classifier:
    """The network of a run with its first weights, its blocks compiled where that is asked for."""
    process = build_process(config, _tokens(data))
    places = start.places(int(data.lengths.max()))
    network: Transformer | Classifier
    if config.task == "classifier":
        frame = FRAME if process.causal else 0
        network = build_classifier(config, process, places + frame, conditions)
    else:
        network = build_network(config, process, places, conditions)
    start.fill(network, conditions)
    if config.compile and compiles(pick_device(config.device)):
        compile_blocks(network)
    return network


def _tokens(data: Any) -> int:
    """The data tokens of a token file."""
    tokens: int = build_tokenizer(data.info["modality"], data.info["tokenizer"]).vocab_size
    return tokens


def _fit(trainer: lightning.Trainer, trainee: Trainee, module: Any, checkpoint: Path | None) -> None:
    """Trains, from a checkpoint where there is one; MoldiffError where that cannot be restored."""
    try:
        trainer.fit(trainee, datamodule=module, ckpt_path=checkpoint, weights_only=True)
    except MoldiffError:
        raise
    # Until training begins, Lightning reads what a file of anyone's making holds, and raises accordingly.
    except Exception as error:
        if checkpoint is None or trainee.begun:
            raise
        raise MoldiffError(f"--resume: {checkpoint} cannot be restored ({error!r})") from None


def _held_out(trainer: lightning.Trainer, trainee: Trainee, module: Any) -> float | None:
    """The bound of the held-out rows in nats a token; None where nothing is held out."""
    if len(module.rows["heldout"][1]) == 0:
        return None
    return float(trainer.validate(trainee, datamodule=module, verbose=False)[0]["heldout_nll"])
