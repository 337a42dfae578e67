"""Random numbers per row: every draw is a stateless hash of (seed, row, step, position, stream).

Because no state is carried along, sample i depends on (seed, i) alone: batch size, row skipping,
sharding and the order of the work change nothing.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import final

import torch
from torch import Tensor

# splitmix64 (Steele, Lea, Flood 2014), its constants as signed 64-bit integers.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


class Stream(IntEnum):
    """The uses of randomness; two uses never share a number."""

    EVENT = 0
    TOKEN = 1
    ORDER = 2
    TIME = 3
    NOISE = 4
    TARGET = 5
    CONDITION = 6
    NETWORK = 7
    CORRECTION = 8
    COMPLETION = 9
    RESAMPLING = 10
    REPAIR = 11
    REWARD = 12
    KEPT = 13


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift: torch's own is arithmetic on int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The splitmix64 finaliser; int64 products wrap around, as the algorithm wants."""
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def _absorb(key: Tensor, word: Tensor | int) -> Tensor:
    return _mix((key + _GOLDEN) ^ _mix(torch.as_tensor(word, device=key.device) + _GOLDEN))


@final
@dataclass(frozen=True)
class RowRandom:
    """Uniform numbers addressed by row, step, position and stream.

    Args:
        seed: any Python integer; taken modulo 2**64.
    """

    seed: int

    def uniform(self, rows: Tensor, step: Tensor | int, positions: int, stream: Stream) -> Tensor:
        """Uniforms in [0, 1), (B, positions), for rows (B,) int64 and one step, or steps (B,) int64.

        float64 with 53 random bits, or float32 with 24 where the device has no float64 (MPS).
        """
        bits = self.bits(rows, step, positions, stream)
        if rows.device.type == "mps":
            return _shift(bits, 40).to(torch.float32) * 2.0**-24
        return _shift(bits, 11).to(torch.float64) * 2.0**-53

    def bits(self, rows: Tensor, step: Tensor | int, positions: int, stream: Stream) -> Tensor:
        """Random int64 words, (B, positions), for rows (B,) int64 and one step, or steps (B,) int64."""
        seed = self.seed % (1 << 64)
        signed = seed - (1 << 64) if seed >= 1 << 63 else seed
        key = _absorb(torch.full_like(rows, signed), rows)
        key = _absorb(_absorb(key, int(stream)), step)
        return _absorb(key[:, None], torch.arange(positions, device=rows.device)[None, :])
