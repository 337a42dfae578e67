"""Lightning's trainer as this project sets it, and the manners it is held to."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from moldiff.assembly import pick_device
from moldiff.config import TrainConfig
from moldiff.errors import MoldiffError
from moldiff.nn.precision import resolved


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
        log_every_n_steps=min(_log_every(config), config.max_steps),
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _log_every(config: TrainConfig) -> int:
    """Steps between lines of the log; steps that draw rows too take long."""
    return 50 if config.reward is None else 1


def _logger(config: TrainConfig) -> Any:
    """The configured logger, or False for none."""
    loggers: dict[str, Callable[[], Any]] = {
        "csv": lambda: CSVLogger(
            config.out, name="logs", flush_logs_every_n_steps=100 if config.reward is None else 10
        ),
        "tensorboard": lambda: TensorBoardLogger(config.out, name="logs"),
        "none": lambda: False,
    }
    try:
        return loggers[config.logger]()
    except ModuleNotFoundError:
        raise MoldiffError(f"logger: got {config.logger}, which is not installed; choose csv, none") from None


@contextmanager
def lightning_as_a_guest() -> Iterator[None]:
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
