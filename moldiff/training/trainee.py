"""What Lightning trains: network, objective, condition dropout and average, wired together; no maths here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, final

import lightning
import torch
from torch import Tensor, nn

from moldiff import registry
from moldiff.assembly import build_objective
from moldiff.checkpoint import Card
from moldiff.conditions import always_told, numbers_of
from moldiff.config import OptimizerConfig, TrainConfig
from moldiff.diffusion.classification import ClassifierObjective, PrefixObjective
from moldiff.diffusion.objective import Batch, DiffusionObjective, Objective
from moldiff.diffusion.process import Formulation
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.diffusion.reinforcement import Reinforcement
from moldiff.diffusion.self_correction import SelfCorrection
from moldiff.errors import MoldiffError
from moldiff.nn.ema import Ema
from moldiff.nn.optim import MuonAdamW, matrices_and_others
from moldiff.training.reward import Policy

#: Settings without which a resumed run would not be the same run.
SHARED = {
    "seed", "batch_tokens", "t_min", "network", "process", "conditions", "condition_dropout", "optimizer",
    "correction", "reward",
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


def objective_of(
    process: Formulation, random: RowRandom, config: TrainConfig, policy: Policy | None = None
) -> Objective:
    """The loss that a configuration asks for; MoldiffError where the process cannot be trained with it.

    ``policy`` goes with a reward; without, only what the data say is part of the loss.
    """
    base = build_objective(process, random, config.t_min)
    if config.task == "classifier":
        numbers = numbers_of(config.conditions)
        if process.causal:
            return PrefixObjective(process.num_tokens, numbers)
        return ClassifierObjective(base, numbers)
    if config.correction is not None and not isinstance(base, DiffusionObjective):
        raise MoldiffError(f"correction: got one with {config.process.name}, it trains masked models only")
    data = base if config.correction is None else SelfCorrection(base, **config.correction.model_dump())
    if config.reward is None:
        return data
    if not isinstance(base, DiffusionObjective):
        raise MoldiffError(f"reward: got one with {config.process.name}, it trains diffusion models only")
    if policy is None:
        return data
    reward = config.reward
    kept = (
        reward.weight,
        reward.states,
        reward.setting.temperature,
        policy.kept,
        reward.group,
        reward.passed,
    )
    return Reinforcement(base, data, policy.draw, policy.judge, *kept)


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
        policy: Policy | None = None,
    ) -> None:
        """Takes, for checkpoints, a fingerprint of the training ``rows`` and the card of the ``origin``.

        ``policy`` goes with a reward.
        """
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
        self.objective = objective_of(process, self.random, config, policy)
        whole = config.model_copy(update={"t_min": 0.0, "correction": None, "reward": None})
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
