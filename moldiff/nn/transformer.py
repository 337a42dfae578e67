"""The denoising transformer: tokens in, log-probabilities of the K data tokens out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from moldiff.errors import MoldiffError
from moldiff.nn.cache import Attention, Cache
from moldiff.nn.embedding import ConditionEmbedding, ConditionSlot, TimeEmbedding

#: Rows up to this length count as short in ``attend``.
SHORT = 128


@dataclass(frozen=True)
class TransformerConfig:
    """Size and options of a transformer.

    Args:
        num_tokens: K data tokens that are predicted.
        num_states: S states that are read (K, or K + 1 with the mask).
        max_length: longest row.
        width: features D a position, a multiple of 2 * heads.
        depth: blocks.
        heads: attention heads.
        slots: the conditions that it can be told.
        time: whether it is told t; by adaptive layer norm, with the conditions.
        causal: whether a position sees only itself and what stands before it.
        dropout: in [0, 1).
        grid: rows and columns where a row of tokens is a grid, line by line; None where it is a line.
    """

    num_tokens: int
    num_states: int
    max_length: int
    width: int = 192
    depth: int = 6
    heads: int = 6
    slots: tuple[ConditionSlot, ...] = ()
    time: bool = False
    causal: bool = False
    dropout: float = 0.0
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        sizes = (
            self.num_tokens,
            self.num_states,
            self.max_length,
            self.width,
            self.depth,
            self.heads,
        )
        if min(sizes) < 1:
            raise MoldiffError(f"sizes of a transformer: got {sizes}, all must be at least 1")
        if self.width % (2 * self.heads):
            raise MoldiffError(f"width: got {self.width}, must be a multiple of 2 x heads = {2 * self.heads}")
        if not 0 <= self.dropout < 1:
            raise MoldiffError(f"dropout: got {self.dropout}, must be in [0, 1)")
        if self.grid is not None:
            self._check_grid(self.grid)

    def _check_grid(self, grid: tuple[int, int]) -> None:
        if min(grid) < 1 or grid[0] * grid[1] != self.max_length:
            got = f"got {grid[0]} x {grid[1]}, but rows have {self.max_length} tokens"
            raise MoldiffError(f"grid: {got}")
        if self.width % (4 * self.heads):
            raise MoldiffError(
                f"width: got {self.width}, of a grid it must be a multiple of 4 x heads = {4 * self.heads}"
            )


def rotary_angles(length: int, features: int, grid: tuple[int, int] | None = None) -> Tensor:
    """Cosines and sines (2, L, F/2) of rotary position embedding (Su et al., 2021), F features a head.

    Of a grid, half of the features turn by the number of the row and half by that of the column, so that the
    attention of two places depends on how far apart they are in each direction.
    """
    if grid is None:
        angle = _angles(torch.arange(length), features, 10000.0)
    else:
        rows, columns = torch.arange(length) // grid[1], torch.arange(length) % grid[1]
        # Few rows and columns: slower turns would tell none apart (Heo et al., 2024).
        angle = torch.cat([_angles(each, features // 2, 100.0) for each in (rows, columns)], dim=-1)
    return torch.stack([angle.cos(), angle.sin()])


def _angles(places: Tensor, features: int, base: float) -> Tensor:
    """Angles (L, F/2) of places (L,), from 1 a place down to some 1 / base."""
    return places[:, None] * base ** (-torch.arange(0, features, 2) / features)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """x (..., L, F) with each pair of features (i, i + F/2) turned by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = rotation
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Softmax attention (B, H, L, F) of q, k, v (B, H, L, F).

    On a CPU in bfloat16 and for short rows, two plain products beat the fused kernel, whose backward is some
    seven times slower there (benchmarks/attention.py); everywhere else the fused kernel runs.
    """
    length = q.shape[-2]
    if q.device.type != "cpu" or q.dtype != torch.bfloat16 or length > SHORT:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if causal:
        scores = scores + torch.full_like(scores[0, 0], -torch.inf).triu(1)
    mixed: Tensor = scores.softmax(-1) @ v
    return mixed


@final
class Block(nn.Module):
    """Pre-norm attention and perceptron; with ``adaptive``, a (B, D) signal scales, shifts and gates both."""

    def __init__(self, config: TransformerConfig, adaptive: bool) -> None:
        super().__init__()
        width = config.width
        self.heads, self.causal, self.dropout = config.heads, config.causal, config.dropout
        self.norm_1 = nn.RMSNorm(width, eps=1e-6)
        self.norm_2 = nn.RMSNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.modulation = nn.Linear(width, 6 * width) if adaptive else None
        for layer in (self.out, self.down, *([self.modulation] if self.modulation else [])):
            nn.init.zeros_(layer.weight)
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self, x: Tensor, rotation: Tensor, signal: Tensor | None, attention: Attention | None = None
    ) -> Tensor:
        """(B, L, D) from x (B, L, D), rotation (2, L, F/2) and signal (B, D) or None.

        ``attention`` stands in for the block's own.
        """
        if self.modulation is None or signal is None:
            x = x + self._attend(self.norm_1(x), rotation, attention)
            return x + self._perceive(self.norm_2(x))
        parts = self.modulation(functional.silu(signal))[:, None].chunk(6, dim=-1)
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = parts
        x = x + (1 + gate_1) * self._attend(self.norm_1(x) * (1 + scale_1) + shift_1, rotation, attention)
        y: Tensor = x + (1 + gate_2) * self._perceive(self.norm_2(x) * (1 + scale_2) + shift_2)
        return y

    def _attend(self, x: Tensor, rotation: Tensor, attention: Attention | None) -> Tensor:
        batch, length, width = x.shape
        shape = batch, length, 3, self.heads, width // self.heads
        qkv = self.qkv(x).view(shape).permute(2, 0, 3, 1, 4)
        # Under autocast the rotation is float32 and lifts q and k; attention wants v's type.
        q, k = rotate(qkv[:2], rotation).to(qkv.dtype)
        y = attend(q, k, qkv[2], self.causal) if attention is None else attention.attend(q, k, qkv[2])
        return self._drop(self.out(y.transpose(1, 2).reshape(batch, length, width)))

    def _perceive(self, x: Tensor) -> Tensor:
        # Squared ReLU (So et al., 2021): as good as GELU and, on a CPU, a fraction of its time.
        return self._drop(self.down(functional.relu(self.up(x)).square()))

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training) if self.dropout else x


@final
class Transformer(nn.Module):
    """A denoiser over rows of one length.

    Positions enter by rotation in the attention (relative) and by two learned tables, distance from the start
    and from the end: without them a row of masks would look the same at every position and every length.
    Nothing is padded, so there is no attention mask. The answer is float32 whatever the network runs in.
    """

    edges: nn.Parameter
    rotation: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.tokens = nn.Embedding(config.num_states, width)
        self.edges = nn.Parameter(torch.empty(2, config.max_length, width))
        self.conditions = ConditionEmbedding(config.slots, width) if config.slots else None
        self.time = TimeEmbedding(width) if config.time else None
        self.blocks = nn.ModuleList(Block(config, config.time) for _ in range(config.depth))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.head = nn.Linear(width, config.num_tokens)
        rotation = rotary_angles(config.max_length, width // config.heads, config.grid)
        self.register_buffer("rotation", rotation, persistent=False)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.edges, std=0.02)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def max_length(self) -> int:
        """The longest row that it reads."""
        return self.config.max_length

    def new_cache(self) -> Cache:
        """What rows are read piece by piece with; for a causal network."""
        if not self.config.causal:
            raise MoldiffError("cache: got a network that sees both ways, it needs a causal one")
        return Cache(self.config.depth)

    def forward(
        self, x_t: Tensor, t: Tensor, cond: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Log p(x_0 | x_t), (B, L, K) float32, for x_t (B, L), t (B,) and cond (B, C), NaN where null.

        With ``cache``, x_t goes on where the rows that it has read end, and is added to it.
        """
        first = 0 if cache is None else cache.length
        length = first + x_t.shape[1]
        h = self.tokens(x_t) + self._edges(length)[first:]
        signal = self._signal(t, cond, x_t.shape[0])
        if signal is not None and self.time is None:
            h = h + signal[:, None]
        rotation = self.rotation[:, first:length].to(h.dtype)
        kept: Sequence[Attention | None] = [None] * len(self.blocks) if cache is None else cache.blocks
        for block, mine in zip(self.blocks, kept, strict=True):
            h = block(h, rotation, signal, mine)
        logits: Tensor = self.head(self.norm(h))
        return logits.float().log_softmax(-1)

    def _edges(self, length: int) -> Tensor:
        if length > self.config.max_length:
            raise MoldiffError(
                f"row length: got {length}, the network takes at most {self.config.max_length}"
            )
        if self.config.causal:
            return self.edges[0, :length]
        return self.edges[0, :length] + self.edges[1, :length].flip(0)

    def _signal(self, t: Tensor, cond: Tensor | None, rows: int) -> Tensor | None:
        parts = []
        if self.conditions is not None:
            nothing = torch.full((rows, len(self.config.slots)), torch.nan, device=t.device)
            parts.append(self.conditions(nothing if cond is None else cond.to(torch.float32)))
        if self.time is not None:
            parts.append(self.time(t.to(torch.float32)))
        return torch.stack(parts).sum(0) if parts else None
