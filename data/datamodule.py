"""Batches that are a function of (seed, step), so that a resumed run needs no memory of the order."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import final

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moldiff.diffusion.objective import Batch
from moldiff.errors import MoldiffError


@final
@dataclass(frozen=True)
class StepPlan:
    """Which rows make up the batch of each step; every batch holds rows of one length.

    An epoch visits each row once. The rows of a length are shared out evenly over as few batches as hold at
    most ``batch_tokens`` tokens each; a length with few rows has one small batch.

    Args:
        lengths: (N,) tokens a row.
        batch_tokens: tokens of a full batch; a row longer than that is a batch of its own.
        seed: of the order.
    """

    lengths: NDArray[np.int32]
    batch_tokens: int
    seed: int
    _epochs: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Refuse a batch too small for one row."""
        if self.batch_tokens < 1:
            raise MoldiffError(f"batch_tokens: got {self.batch_tokens}, must be at least 1")

    @property
    def steps_per_epoch(self) -> int:
        """Batches that visit every row once."""
        return len(self._epoch(0))

    def rows(self, step: int) -> NDArray[np.int64]:
        """The rows of the batch of ``step``."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return self._epoch(epoch)[place]

    def _epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        if epoch not in self._epochs:
            batches = self._build(epoch)
            first = self._epochs.get(0, batches)
            self._epochs.clear()  # two epochs at a time are enough
            self._epochs.update({0: first, epoch: batches})
        return self._epochs[epoch]

    def _build(self, epoch: int) -> list[NDArray[np.int64]]:
        generator = np.random.default_rng([self.seed, epoch])
        batches: list[NDArray[np.int64]] = []
        for length in np.unique(self.lengths):
            rows = generator.permutation(np.flatnonzero(self.lengths == length))
            size = max(1, self.batch_tokens // int(length))
            batches.extend(np.array_split(rows, -(-len(rows) // size)))
        return [batches[i] for i in generator.permutation(len(batches))]


@final
@dataclass(frozen=True)
class Rank:
    """This process's place among those that share a step."""

    index: int = 0
    count: int = 1


@final
class StepBatches:
    """The batches of steps ``start``, ``start`` + 1, ... up to ``stop``."""

    def __init__(
        self, tokens: Tensor, cond: Tensor | None, plan: StepPlan, span: tuple[int, int], rank: Rank
    ) -> None:
        """Holds all rows: tokens (N, longest) and cond (N, C)."""
        self.tokens, self.cond, self.plan, self.span, self.rank = tokens, cond, plan, span, rank

    def __iter__(self) -> Iterator[Batch]:
        """One batch a step: this rank's share of it."""
        for step in range(*self.span):
            yield self.batch(step)

    def batch(self, step: int) -> Batch:
        """This rank's share of the batch of one step."""
        chosen = self.plan.rows(step)
        length = int(self.plan.lengths[chosen[0]])
        places = np.arange(self.rank.index, len(chosen), self.rank.count)
        index = torch.from_numpy(chosen[places])
        cond = None if self.cond is None else self.cond[index]
        whole = max(self.plan.batch_tokens, len(chosen) * length)
        return Batch(self.tokens[index, :length], cond, torch.from_numpy(places), len(chosen), step, whole)


@final
class HeldOutBatches:
    """The batches of one pass over held-out rows, each row once.

    A row's noise depends on its number among the held-out rows and its stratum of time on a fixed shuffle of
    these numbers, not on the batches; so figures of runs with the same rows compare.
    """

    def __init__(self, batches: StepBatches) -> None:
        """Holds the batches of an epoch."""
        self.batches = batches
        size = len(batches.tokens)
        self.place = torch.from_numpy(np.random.default_rng(0).permutation(size))

    def __iter__(self) -> Iterator[Batch]:
        """Each batch, its rows addressed by their places in the whole."""
        for batch in self.batches:
            chosen = torch.from_numpy(self.batches.plan.rows(batch.step))
            yield replace(batch, rows=self.place[chosen], size=len(self.place), step=0)


@final
class TokenDataModule(lightning.LightningDataModule):
    """Training batches by step, and held-out batches in a fixed order."""

    def __init__(
        self,
        rows: dict[str, tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]],
        batch_tokens: int,
        seed: int,
        max_steps: int,
    ) -> None:
        """Takes ``train`` and ``heldout`` rows: tokens (N, longest), lengths (N,), cond (N, C)."""
        super().__init__()
        self.rows, self.batch_tokens, self.seed, self.max_steps = (
            rows,
            batch_tokens,
            seed,
            max_steps,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Steps that visit every training row once."""
        return StepPlan(self.rows["train"][1], self.batch_tokens, self.seed).steps_per_epoch

    def train_dataloader(self) -> StepBatches:
        """Batches from the trainer's present step on."""
        trainer = self.trainer
        start = trainer.global_step if trainer else 0
        rank = Rank(trainer.global_rank, trainer.world_size) if trainer else Rank()
        return self._batches("train", (start, self.max_steps), rank)

    def val_dataloader(self) -> HeldOutBatches:
        """One pass over the held-out rows."""
        steps = StepPlan(self.rows["heldout"][1], self.batch_tokens, 0).steps_per_epoch
        return HeldOutBatches(self._batches("heldout", (0, steps), Rank()))

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, index: int) -> Batch:
        """The batch with its tensors on ``device``."""
        cond = None if batch.cond is None else batch.cond.to(device)
        tokens, rows = batch.tokens.to(device), batch.rows.to(device)
        return replace(batch, tokens=tokens, cond=cond, rows=rows)

    def _batches(self, part: str, span: tuple[int, int], rank: Rank) -> StepBatches:
        tokens, lengths, cond = self.rows[part]
        plan = StepPlan(lengths, self.batch_tokens, self.seed if part == "train" else 0)
        conditions = torch.from_numpy(cond).float() if cond.shape[1] else None
        return StepBatches(torch.from_numpy(tokens), conditions, plan, span, rank)
