"""What rows that a network in training draws are worth: readable, new, and as they were asked to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from moldiff import registry
from moldiff.assembly import build_guidance, build_sampler, build_tokenizer
from moldiff.checkpoint import HASHES, IN_TRAIN
from moldiff.conditions import ConditionSpec
from moldiff.config import RewardConfig, TrainConfig
from moldiff.diffusion.process import Formulation
from moldiff.diffusion.random import RowRandom
from moldiff.diffusion.reinforcement import Beginnings, Draw, Reward
from moldiff.errors import MoldiffError
from moldiff.training.publishing import novelty
from moldiff.types import Denoiser, Measure, Modality, Rows, Steer, Tokenizer

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Worth:
    """Judges rows by the modality: 0 where one is not sane, else 1 and what it is worth beyond that.

    Args:
        modality: reads and measures the rows.
        tokenizer: spells them.
        reference: the training set, to be novel to.
        conditions: what the network is told, by slot.
        config: what counts how much.
        measure: what asks the oracles that count; None without any.
    """

    modality: Modality
    tokenizer: Tokenizer[Any]
    reference: Any
    conditions: Sequence[ConditionSpec]
    config: RewardConfig
    measure: Measure | None = None

    def __call__(self, tokens: Tensor, cond: Tensor | None) -> tuple[Tensor, dict[str, float]]:
        """Rewards (B,) of tokens (B, L) drawn under cond (B, C), and the shares sane, novel and near."""
        raw = [self.tokenizer.decode(row) for row in tokens.tolist()]
        frame = self.modality.evaluate(raw, self.reference)
        sane = frame["sane"].to_numpy(dtype=bool)
        novel = sane & frame["novel"].to_numpy(dtype=bool)
        near = self.nearness(frame, cond)
        told = sane & np.isfinite(near)
        usual = float(near[told].mean()) if told.any() else 0.0
        extra = self.config.asked * np.where(told, near, 0.0) + self.config.novel * novel
        worth = np.where(sane, 1 + extra + self.liked(frame), 0.0)
        shares = {"sane": float(sane.mean()), "novel": float(novel.sum() / max(1, sane.sum())), "near": usual}
        return torch.from_numpy(worth).to(tokens.device, torch.float32), shares

    def liked(self, frame: pd.DataFrame) -> Floats:
        """What the oracles add to the worth of each row, (B,); nothing where one has no value."""
        total = np.zeros(len(frame))
        if self.measure is None:
            return total
        frame = self.measure.add(frame)
        for name, larger, weight in zip(
            self.measure.names, self.measure.maximize, self.config.oracles.values(), strict=True
        ):
            value = np.clip(frame[name].to_numpy(dtype=float), 0.0, 1.0)
            total += weight * np.nan_to_num(value if larger else 1 - value, nan=0.0)
        return total

    def nearness(self, frame: pd.DataFrame, cond: Tensor | None) -> Floats:
        """How near each row is to what it was told, (B,), from 0 to 1; NaN where it was told nothing.

        The mean over what it was told: exp(-|asked - achieved| / width) of a number, in standard deviations,
        and whether a class is the one.
        """
        if cond is None:
            return np.full(len(frame), np.nan)
        asked = cond.double().cpu().numpy()
        found = np.full(asked.shape, np.nan)
        for slot, spec in enumerate(self.conditions):
            # What is told but not measured, such as how a row is written, is no wish.
            if spec.name in frame and spec.kind != "category":
                away = np.abs(spec.encode(frame[spec.name].to_numpy(dtype=float)) - asked[:, slot])
                found[:, slot] = np.exp(-away / self.config.width) if spec.kind == "numeric" else away < 0.5
                found[np.isnan(away), slot] = np.nan
        known = np.isfinite(found)
        total = np.where(known, found, 0.0).sum(1)
        near: Floats = np.divide(total, known.sum(1), out=np.full(len(frame), np.nan), where=known.any(1))
        return near


@final
@dataclass(frozen=True)
class Policy:
    """How a network in training draws rows, what judges them, and what they keep.

    It is a context, at whose end the oracles end.
    """

    draw: Draw
    judge: Reward
    measure: Measure | None = None
    kept: Beginnings | None = None

    def __enter__(self) -> Policy:
        return self

    def __exit__(self, *raised: object) -> None:
        if self.measure is not None:
            self.measure.close()


def policy_of(
    data: Any, config: TrainConfig, process: Formulation, conditions: Sequence[ConditionSpec]
) -> Policy | None:
    """The policy of a run over a token file; None for a run without a reward."""
    if config.reward is None:
        return None
    modality, setting = registry.build("modality", data.info["modality"]), config.reward.setting
    tokenizer = build_tokenizer(data.info["modality"], data.info["tokenizer"])
    known = novelty(data)
    arrays = {"hashes": known[HASHES], "in_train": known[IN_TRAIN]}
    reference = modality.reference(arrays, {"rdkit": str(data.info.get("rdkit", "unknown"))})
    sampler = build_sampler(process, setting)
    made = (process, tokenizer, conditions)
    guidance = build_guidance(*made, scale=setting.scale, complete=setting.complete)

    def draw(denoiser: Denoiser, rows: Rows, seed: int, steer: Steer | None = None) -> Tensor:
        looks_on = {} if steer is None else {"steer": steer}
        drawn: Tensor = sampler(denoiser, rows, guidance, seed=seed, **looks_on)
        return drawn

    asked = tuple(config.reward.oracles)
    measure: Measure | None = modality.measure(asked) if asked else None
    worth = Worth(modality, tokenizer, reference, conditions, config.reward, measure)
    return Policy(draw, worth, measure, _kept(config.reward, tokenizer, RowRandom(config.seed)))


def _kept(reward: RewardConfig, tokenizer: Tokenizer[Any], random: RowRandom) -> Beginnings | None:
    """Which tokens rows keep; MoldiffError for an end that is not one token of the vocabulary."""
    if not reward.kept:
        return None
    end = tokenizer.encode(reward.kept_until)
    if len(end) != 1:
        raise MoldiffError(
            f"reward.kept_until: got {reward.kept_until!r}, which is {len(end)} tokens, not one"
        )
    return Beginnings(reward.kept, end[0], random)
