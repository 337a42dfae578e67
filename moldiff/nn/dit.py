"""The diffusion transformer of published masked models, array for array: tokens in, log-probabilities out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from moldiff.errors import MoldiffError
from moldiff.nn.transformer import attend, rotary_angles, rotate

#: Cosines and sines that a noise level becomes.
FREQUENCIES = 256
#: How much of the data is left at t = 1 where the network was trained.
EPSILON = 1e-3


@dataclass(frozen=True)
class DiTConfig:
    """Size of a published network.

    Args:
        num_tokens: K data tokens that are predicted; the mask, K, is read besides.
        max_length: longest row.
        width: features D a position, a multiple of 2 * heads.
        depth: blocks.
        heads: attention heads.
        signal: features of what the blocks are told.
        time: whether that depends on t; else it is the same for every row.
    """

    num_tokens: int
    max_length: int
    width: int = 768
    depth: int = 12
    heads: int = 12
    signal: int = 128
    time: bool = False

    def __post_init__(self) -> None:
        sizes = (self.num_tokens, self.max_length, self.width, self.depth, self.heads, self.signal)
        if min(sizes) < 1:
            raise MoldiffError(f"sizes of a transformer: got {sizes}, all must be at least 1")
        if self.width % (2 * self.heads):
            raise MoldiffError(f"width: got {self.width}, must be a multiple of 2 x heads = {2 * self.heads}")


# The names of modules and parameters below are those of the published arrays.


@final
class Embedding(nn.Module):
    """A vector for each of S states."""

    def __init__(self, states: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(states, width))

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (B, L, D) of states x (B, L)."""
        return functional.embedding(x, self.embedding)


@final
class NoiseEmbedding(nn.Module):
    """A small perceptron over cosines and sines of the noise level sigma."""

    def __init__(self, signal: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, signal), nn.SiLU(), nn.Linear(signal, signal))

    def forward(self, sigma: Tensor) -> Tensor:
        """What blocks are told, (B, C), of sigma (B,)."""
        half = FREQUENCIES // 2
        each = torch.arange(half, dtype=torch.float32, device=sigma.device)
        angles = sigma[:, None] * torch.exp(-math.log(10000) * each / half)
        out: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))
        return functional.silu(out)


@final
class Block(nn.Module):
    """Pre-norm attention and perceptron, each shifted, scaled and gated by what the block is told."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.norm1 = nn.LayerNorm(width, bias=False)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.norm2 = nn.LayerNorm(width, bias=False)
        up, down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(up, nn.GELU("tanh"), down)
        self.adaLN_modulation = nn.Linear(config.signal, 6 * width)

    def forward(self, x: Tensor, rotation: Tensor, told: Sequence[Tensor]) -> Tensor:
        """(B, L, D) from x (B, L, D), rotation (2, L, F/2) and six vectors, each (B or 1, 1, D)."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = told
        x = x + gate_1 * self._attend(self.norm1(x) * (1 + scale_1) + shift_1, rotation)
        y: Tensor = x + gate_2 * self.mlp(self.norm2(x) * (1 + scale_2) + shift_2)
        return y

    def tell(self, signal: Tensor) -> Tensor:
        """The six vectors in one, (B, 6 D), of a signal (B, C)."""
        told: Tensor = self.adaLN_modulation(signal)
        return told

    def _attend(self, x: Tensor, rotation: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.attn_qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        # Turned in float32 whatever the network runs in; attention wants v's type.
        q, k = rotate(qkv[:2].float(), rotation).to(qkv.dtype)
        out: Tensor = self.attn_out(attend(q, k, qkv[2], False).transpose(1, 2).reshape(batch, length, width))
        return out


@final
class Output(nn.Module):
    """The last norm and layer, which has a row for the mask as well."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(config.width, bias=False)
        self.linear = nn.Linear(config.width, config.num_tokens + 1)
        self.adaLN_modulation = nn.Linear(config.signal, 2 * config.width)

    def forward(self, x: Tensor, told: Sequence[Tensor]) -> Tensor:
        """Logits (B, L, K) of x (B, L, D): the mask's, the last, is not asked for."""
        shift, scale = told
        x = self.norm_final(x) * (1 + scale) + shift
        return functional.linear(x, self.linear.weight[:-1], self.linear.bias[:-1])

    def tell(self, signal: Tensor) -> Tensor:
        """The two vectors in one, (B, 2 D), of a signal (B, C)."""
        told: Tensor = self.adaLN_modulation(signal)
        return told


@final
class DiT(nn.Module):
    """A denoiser over rows of one length, to sample from (Sahoo et al., 2024, arXiv:2406.07524).

    It has every array of the published state dict but the rotary frequencies, which are a formula. Where it
    is not told t, what the blocks are told is the same for every row and made once, when weights are loaded:
    so no gradient reaches those layers, and the network is not one to train. The answer is float32 whatever
    the network runs in.
    """

    rotation: Tensor
    told: Tensor

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.vocab_embed = Embedding(config.num_tokens + 1, config.width)
        self.sigma_map = NoiseEmbedding(config.signal)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.output_layer = Output(config)
        self.requires_grad_(False)
        self.register_buffer("rotation", torch.empty(0), persistent=False)
        self.register_buffer("told", torch.empty(0), persistent=False)
        self._settle()
        self.register_load_state_dict_post_hook(lambda module, keys: self._settle())  # type: ignore[no-untyped-call]

    @property
    def max_length(self) -> int:
        """The longest row that it reads."""
        return self.config.max_length

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Log p(x_0 | x_t), (B, L, K) float32, for x_t (B, L) and t (B,); it knows no conditions."""
        length, config = x_t.shape[1], self.config
        if length > config.max_length:
            raise MoldiffError(f"row length: got {length}, the network takes at most {config.max_length}")
        told = self._vectors(self._sigma(t)) if config.time else self.told
        parts = told[:, None].chunk(6 * config.depth + 2, dim=-1)
        x, rotation = self.vocab_embed(x_t), self.rotation[:, :length]
        for number, block in enumerate(self.blocks):
            x = block(x, rotation, parts[6 * number : 6 * number + 6])
        logits: Tensor = self.output_layer(x, parts[-2:])
        return logits.log_softmax(-1, dtype=torch.float32)

    def _settle(self) -> None:
        """Makes what is the same for every row, from the weights as they are."""
        weight = self.vocab_embed.embedding
        if weight.is_meta:
            return
        angles = rotary_angles(self.config.max_length, self.config.width // self.config.heads)
        self.rotation = angles.to(weight.device)
        self.told = self._vectors(torch.zeros(1, device=weight.device))

    def _sigma(self, t: Tensor) -> Tensor:
        """The noise level (B,) that the network was told at times t (B,)."""
        return -torch.log1p(-(1 - EPSILON) * t.to(torch.float32))

    def _vectors(self, sigma: Tensor) -> Tensor:
        """All that blocks and output are told at sigma (B,): (B, (6 depth + 2) D), block by block."""
        # Few numbers that everything depends on: in float32 even where the network runs in bfloat16.
        with torch.autocast(sigma.device.type, enabled=False):
            signal = self.sigma_map(sigma)
            return torch.cat([part.tell(signal) for part in (*self.blocks, self.output_layer)], dim=-1)
