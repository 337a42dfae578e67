"""Training: configuration and token file in, published model out; Lightning runs the loop."""

from __future__ import annotations

import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn

from moldiff import finetuning, registry
from moldiff.assembly import (
    build_classifier,
    build_network,
    build_objective,
    build_process,
    build_sampler,
    build_tokenizer,
    network_config,
    pick_device,
)
from moldiff.calibration import reliability
from moldiff.checkpoint import CARD, Card, Checkpoint
from moldiff.conditions import always_told, fit_all
from moldiff.config import OptimizerConfig, TrainConfig
from moldiff.diffusion.classification import FRAME, ClassifierObjective, PrefixObjective
from moldiff.diffusion.objective import Batch, DiffusionObjective, Objective
from moldiff.diffusion.process import Formulation
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.diffusion.self_correction import SelfCorrection
from moldiff.errors import MoldiffError
from moldiff.intake import TOKENS as TOKENS
from moldiff.intake import data_module, keep, launched, properties, read_tokens, summary
from moldiff.nn.classifier import Classifier
from moldiff.nn.compilation import compile_blocks, compiles
from moldiff.nn.ema import Ema
from moldiff.nn.optim import MuonAdamW, matrices_and_others
from moldiff.nn.precision import resolved
from moldiff.nn.transformer import Transformer
from moldiff.publishing import publish, run_facts
from moldiff.resuming import check_state, latest_checkpoint

#: Settings without which a resumed run would not be the same run.
SHARED = {
    "seed", "batch_tokens", "t_min", "network", "process", "conditions", "condition_dropout", "optimizer",
    "correction",
}  # fmt: skip
#: Seed of the held-out loss, the same in every run, so that curves compare.
VALIDATION_SEED = 0


def rate(config: OptimizerConfig, max_steps: int) -> Callable[[int], float]:
    """The learning rate at a step as a share of the configured one: up, level, linearly down to 0."""
    down = max(1, round(config.decay * max_steps))

    def at(step: int) -> float:
        up = (step + 1) / max(1, config.warmup)
        return max(0.0, min(1.0, up, (max_steps - step) / down))

    return at


def objective_of(process: Formulation, random: RowRandom, config: TrainConfig) -> Objective:
    """The loss that a configuration asks for; MoldiffError where the process cannot be trained with it."""
    base = build_objective(process, random, config.t_min)
    if config.task == "classifier":
        return PrefixObjective(process.num_tokens) if process.causal else ClassifierObjective(base)
    if config.correction is not None and not isinstance(base, DiffusionObjective):
        raise MoldiffError(f"correction: got one with {config.process.name}, it trains masked models only")
    return base if config.correction is None else SelfCorrection(base, **config.correction.model_dump())


@final
class Trainee(lightning.LightningModule):
    """What Lightning trains: it wires network, objective, condition dropout and average together."""

    def __init__(
        self,
        network: nn.Module,
        process: Formulation,
        config: TrainConfig,
        rows: str = "",
        origin: Card | None = None,
    ) -> None:
        """Takes, for checkpoints, a fingerprint of the training ``rows`` and the card of the ``origin``."""
        super().__init__()
        self.network, self.config = network, config
        self.origin = None if origin is None else origin.model_dump_json()
        self.begun = False
        self.shared = {**config.model_dump(mode="json", include=SHARED), "data": rows}
        #: Whether the conditions are what is learnt, and not what the network is told.
        self.classifies = config.task == "classifier"
        if self.classifies:
            self.shared["task"] = config.task
        self.always = list(always_told(config.conditions))
        self.random = RowRandom(config.seed)
        self.objective = objective_of(process, self.random, config)
        whole = config.model_copy(update={"t_min": 0.0, "correction": None})
        self.held_out = objective_of(process, RowRandom(VALIDATION_SEED), whole)
        self.dropout = registry.build(
            "condition dropout", config.condition_dropout.name, **config.condition_dropout.options
        )
        self.ema = Ema(network, config.optimizer.ema)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss of one batch."""
        if self.config.network.dropout:
            # The network's own draws too are a function of (seed, step), so that a resumed run repeats them.
            rank = torch.tensor([self.global_rank])
            torch.manual_seed(int(self.random.bits(rank, batch.step, 1, Stream.NETWORK)))
        loss = self.objective(self.network, self._hide(batch))
        self.log("loss", loss.nll, prog_bar=True)
        self.log_dict(loss.parts)
        # Lightning's strategies average over processes, and the shares of a batch are to be added up.
        return loss.total * self.trainer.world_size

    def validation_step(self, batch: Batch, index: int) -> None:
        """Logs a held-out batch's bound in nats a token, unconditionally; of a classifier, nats a row."""
        weight = batch.tokens.numel()
        if self.classifies:
            weight = len(batch.tokens)
        elif batch.cond is not None:
            bare = torch.full_like(batch.cond, torch.nan)
            bare[:, self.always] = batch.cond[:, self.always]
            batch = replace(batch, cond=bare)
        nll = self.held_out(self.network, batch).nll
        self.log("heldout_nll", nll, batch_size=weight, on_epoch=True, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule by step."""
        config = self.config.optimizer
        matrices, others = matrices_and_others(self.network)
        optimizer: torch.optim.Optimizer
        if config.name == "muon":
            optimizer = MuonAdamW(matrices, others, config.lr, config.weight_decay)
        else:
            optimizer = torch.optim.AdamW(
                [*matrices, *others], lr=config.lr, weight_decay=config.weight_decay
            )
        moves = torch.optim.lr_scheduler.LambdaLR(optimizer, rate(config, self.config.max_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": moves, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step, and the average with it: checkpoints are taken before ``on_train_batch_end`` runs."""
        super().optimizer_step(*args, **kwargs)
        self.ema.update(self.network)

    def on_train_start(self) -> None:
        """Puts the average where the weights are."""
        self.ema.to(self.device)
        self.begun = True

    def on_validation_start(self) -> None:
        """Measures the average, not the weights."""
        self.ema.swap(self.network)

    def on_validation_end(self) -> None:
        """Takes the weights back."""
        self.ema.swap(self.network)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the average, the settings that a resumed run must share, and where the run started."""
        checkpoint["ema"] = self.ema.state_dict()
        checkpoint["shared"] = self.shared
        checkpoint["origin"] = self.origin

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the average back."""
        self.ema.load_state_dict(checkpoint["ema"])

    def _hide(self, batch: Batch) -> Batch:
        if batch.cond is None or self.classifies:
            return batch
        hidden = [slot for slot in range(batch.cond.shape[1]) if slot not in self.always]
        uniform = self.random.uniform(batch.rows, batch.step, len(hidden) + 1, Stream.CONDITION)
        cond = batch.cond.clone()
        cond[:, hidden] = self.dropout(batch.cond[:, hidden], uniform)
        return replace(batch, cond=cond)


def precision(config: TrainConfig) -> Any:
    """Lightning's name for the configured precision; auto asks the device whether it computes in bfloat16."""
    return "bf16-mixed" if resolved(pick_device(config.device), config.precision) == "bf16" else "32-true"


def build_trainer(config: TrainConfig) -> lightning.Trainer:
    """Lightning's trainer: steps instead of epochs, two checkpoints kept, CSV logs."""
    device = pick_device(config.device)
    present = torch.cuda.device_count() if device.type == "cuda" else 1
    if device.type != "cpu" and config.devices > present:
        raise MoldiffError(f"devices: got {config.devices}, this machine has {present}")
    checkpoints = ModelCheckpoint(
        dirpath=config.out / "checkpoints",
        filename="{step}",
        monitor="step",
        mode="max",
        save_top_k=2,
        every_n_train_steps=config.checkpoint_every,
        save_on_exception=False,
        enable_version_counter=False,
        # Else the last one is put off until validation, while the average stands in for the weights.
        save_on_train_epoch_end=True,
    )
    # Progress is for a person who watches; a log file gets the CSV instead.
    watched = sys.stderr.isatty()
    bars = [RichProgressBar(console_kwargs={"stderr": True})] if watched else []
    return lightning.Trainer(
        max_steps=config.max_steps,
        max_epochs=-1,
        accelerator=device.type,
        devices=[device.index] if ":" in config.device else config.devices,
        precision=precision(config),
        gradient_clip_val=config.optimizer.clip,
        logger=_logger(config),
        callbacks=[checkpoints, *bars],
        enable_progress_bar=watched,
        val_check_interval=min(config.validate_every, config.max_steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=min(50, config.max_steps),
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _logger(config: TrainConfig) -> Any:
    """The configured logger, or False for none."""
    loggers: dict[str, Callable[[], Any]] = {
        "csv": lambda: CSVLogger(config.out, name="logs"),
        "tensorboard": lambda: TensorBoardLogger(config.out, name="logs"),
        "none": lambda: False,
    }
    try:
        return loggers[config.logger]()
    except ModuleNotFoundError:
        raise MoldiffError(f"logger: got {config.logger}, which is not installed; choose csv, none") from None


def run(
    config: TrainConfig,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
    init_from: str | None = None,
) -> Checkpoint:
    """Trains a configuration and publishes the model in its folder; ``say`` is told what is read.

    Args:
        init_from: the model to start from, a bundled name or a folder; None starts from scratch.

    Raises:
        MoldiffError: no data, nothing to resume, a run already there and ``resume`` not asked for, or a model
            to start from that is not there or cannot become what the configuration asks for.
        KeyboardInterrupt: from the keyboard; the run can be resumed from its last checkpoint.
    """
    checkpoint = _checkpoint(config, resume)
    if config.task == "classifier" and init_from is not None:
        raise MoldiffError(f"--init-from: got {init_from}, but a classifier starts from scratch")
    start = finetuning.start(init_from) if checkpoint is None else finetuning.resumed(checkpoint, init_from)
    config = start.settings(config)
    _rehearse(config)
    trainer = build_trainer(config)
    found = read_tokens(config, resume)
    data = start.tokens(found)
    fitted = fit_all(config.conditions, properties(data), ~data.heldout)
    conditions = start.conditions(fitted, properties(data))
    network = _network(config, start, data, conditions)
    process = build_process(config, _tokens(data))
    trainee = Trainee(network, process, config, data.fingerprint(), start.card)
    if checkpoint is not None:
        check_state(checkpoint, trainee.shared, trainee.state_dict(), trainee.ema.state_dict())
    module = data_module(data, config, conditions)
    keep(found, config)
    if not launched():
        for line in filter(None, (summary(data), start.line(data, conditions))):
            say(line)
    with _lightning_as_a_guest():
        _fit(trainer, trainee, module, checkpoint)
        held_out = _held_out(trainer, trainee, module)
    trainee.ema.swap(network)
    facts = run_facts(config, data, module.steps_per_epoch, held_out)
    published = publish(config, data, conditions, network, facts, start.origin(data))
    if isinstance(network, Classifier):
        found_on = reliability(network, process, data, conditions)
        published = replace(published, card=published.card.model_copy(update={"reliability": found_on}))
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


def _rehearse(config: TrainConfig) -> None:
    """Builds all that a configuration names, small, so that a wrong name or size is known before any work."""
    process = build_process(config, num_tokens=2)
    network_config(config, process, math.prod(config.network.grid or (1,)), config.conditions)
    if config.task == "classifier":
        _rehearse_classifier(config)
    if process.timed and not config.network.time:
        raise MoldiffError(
            f"network.time: got false, but what a {config.process.name} process predicts depends on t; set it"
        )
    objective_of(process, RowRandom(config.seed), config)
    corrector = getattr(build_sampler(process, config.default), "corrector", None)
    if corrector is not None and not (config.correction and config.correction.weight):
        raise MoldiffError(f"default.sampler: got {config.default.sampler}, which needs correction.weight=1")
    registry.build("condition dropout", config.condition_dropout.name, **config.condition_dropout.options)


def _rehearse_classifier(config: TrainConfig) -> None:
    """Refuses what a classifier cannot be asked, and what does not go with one."""
    words = {"numeric": "number", "category": "category"}
    others = [f"{spec.name} as a {words[spec.kind]}" for spec in config.conditions if spec.kind != "class"]
    if others or not config.conditions:
        got = others[0] if others else "none"
        raise MoldiffError(f"conditions: got {got}, a classifier needs classes: {{kind: class, name: qed}}")
    if len({spec.name for spec in config.conditions}) < len(config.conditions):
        raise MoldiffError("conditions: got a property twice, a classifier needs one class of each")
    if config.correction is not None:
        raise MoldiffError("correction: got one with task: classifier, it goes with a denoiser only")


@contextmanager
def _lightning_as_a_guest() -> Iterator[None]:
    """A block in which Lightning neither ends the process on Ctrl-C nor warns of what is its own to mend."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            # A run that is resumed has a folder of checkpoints, and means to.
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty", UserWarning)
            # And its folder may have been moved; which checkpoint is the newest is known without Lightning.
            warnings.filterwarnings("ignore", "The dirpath has changed from", UserWarning)
            yield
    except SystemExit:
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from None


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
