"""Embeddings of what a network is told beside its tokens: conditions and time."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from moldiff.errors import MoldiffError


@dataclass(frozen=True)
class ConditionSlot:
    """One condition: ``classes`` > 0 for a class index, 0 for a standardised number."""

    classes: int = 0

    def __post_init__(self) -> None:
        if self.classes < 0:
            raise MoldiffError(f"classes of a condition: got {self.classes}, must be 0 or more")


def fourier(x: Tensor, frequencies: Tensor) -> Tensor:
    """Features (..., 2F + 1): x, and its sines and cosines at F frequencies, for x (...)."""
    angles = x[..., None] * frequencies
    return torch.cat([x[..., None], angles.sin(), angles.cos()], dim=-1)


@final
class ConditionEmbedding(nn.Module):
    """Sum over slots of an embedding of the slot's value, or of its learned null where the value is NaN."""

    frequencies: Tensor

    def __init__(self, slots: tuple[ConditionSlot, ...], width: int) -> None:
        super().__init__()
        self.slots = slots
        self.null = nn.Parameter(torch.zeros(len(slots), width))
        self.register_buffer("frequencies", 2.0 ** torch.arange(-1, 4), persistent=False)
        features = 2 * len(self.frequencies) + 1
        self.values = nn.ModuleList(
            nn.Embedding(slot.classes, width) if slot.classes else nn.Linear(features, width)
            for slot in slots
        )
        for name, parameter in self.values.named_parameters():
            if name.endswith("weight"):
                nn.init.normal_(parameter, std=0.02)  # the size of a token's embedding

    def forward(self, cond: Tensor) -> Tensor:
        """Embedding (B, D) of conditions cond (B, C)."""
        total = cond.new_zeros(())
        for i, (slot, embed) in enumerate(zip(self.slots, self.values, strict=True)):
            value = cond[:, i]
            known = ~value.isnan()
            safe = value.masked_fill(~known, 0.0)
            features = fourier(safe, self.frequencies).to(self.null.dtype)
            vector = embed(safe.long() if slot.classes else features)
            total = total + torch.where(known[:, None], vector, self.null[i])
        return total


@final
class TimeEmbedding(nn.Module):
    """A small perceptron over sines and cosines of t in [0, 1]."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(0, 6), persistent=False)
        features = 2 * len(self.frequencies) + 1
        self.net = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """Embedding (B, D) of times t (B,)."""
        features = fourier(t, self.frequencies).to(next(self.net.parameters()).dtype)
        out: Tensor = self.net(features)
        return out
