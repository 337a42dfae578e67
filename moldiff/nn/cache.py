"""How a causal network reads rows other than whole: piece by piece, and with several ways to go on."""

from typing import Protocol, final

import torch
from torch import Tensor
from torch.nn import functional


class Attention(Protocol):
    """What a block's queries look at."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Softmax attention (B, H, N, F) of q, k, v (B, H, N, F)."""
        ...


@final
class Fork:
    """Rows whose first ``place`` tokens are read from left to right; each behind may follow these."""

    def __init__(self, place: int) -> None:
        self.place = place

    def places(self, order: Tensor) -> Tensor:
        """Where the tokens that are ``order`` (L,) in their rows stand, (L,)."""
        return order.clamp(max=self.place)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention (B, H, L, F) in which those behind the first see these and themselves, not each other."""
        seen = torch.eye(q.shape[2], dtype=torch.bool, device=q.device)
        seen[self.place :, : self.place] = True
        seen[: self.place, : self.place] = torch.ones_like(seen[: self.place, : self.place]).tril()
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)


@final
class BlockCache:
    """Keys and values of one block, (B, H, L, F) each, for the L tokens read so far."""

    def __init__(self) -> None:
        self._kept: tuple[Tensor, Tensor] | None = None

    @property
    def length(self) -> int:
        """L, the tokens read so far."""
        return 0 if self._kept is None else self._kept[0].shape[2]

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Causal attention (B, H, N, F) of N more tokens, which are kept; q, k, v (B, H, N, F)."""
        past, more = self.length, q.shape[2]
        if self._kept is not None:
            k, v = (torch.cat(pair, dim=2) for pair in zip(self._kept, (k, v), strict=True))
        self._kept = k, v
        if past == 0 or more == 1:
            return functional.scaled_dot_product_attention(q, k, v, is_causal=past == 0 and more > 1)
        seen = torch.ones(more, past + more, dtype=torch.bool, device=q.device).tril(past)
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)

    def select(self, index: Tensor) -> None:
        """Keeps rows index (N,), in that order."""
        if self._kept is not None:
            k, v = self._kept
            self._kept = k[index], v[index]


@final
class Cache:
    """The rows that a causal network of ``depth`` blocks has read."""

    def __init__(self, depth: int) -> None:
        self.blocks = [BlockCache() for _ in range(depth)]

    @property
    def length(self) -> int:
        """L, the tokens of each row read so far."""
        return self.blocks[0].length

    def select(self, index: Tensor) -> None:
        """Keeps rows index (N,), in that order; a row may be kept more than once."""
        for block in self.blocks:
            block.select(index)
