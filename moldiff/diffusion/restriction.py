"""Restriction: a network's predictions given that no token is one of those that are forbidden."""

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from moldiff.diffusion.categorical import normalise
from moldiff.errors import MoldiffError


@final
@dataclass(frozen=True, eq=False)
class Restricted:
    """A denoiser under which forbidden tokens have no chance: p(x_0^l | x_t) given x_0^l is none of them.

    It stands between network and sampler, so all that looks at a prediction sees the restricted one: every
    guidance, order, corrector and read-out. Each position is renormalised by itself. What is more than a data
    token, such as the end of a row, is never forbidden. Of uniform noise, the noise itself may pass through
    forbidden tokens, as in training; no row ends in one.

    Args:
        inner: the network, of any kind that a sampler takes.
        forbidden: the ids, each once.
        num_tokens: K, the data tokens 0..K-1.

    Raises:
        MoldiffError: an id that is no data token, or no token left.
    """

    inner: Any
    forbidden: tuple[int, ...]
    num_tokens: int

    def __post_init__(self) -> None:
        if not all(0 <= each < self.num_tokens for each in self.forbidden):
            raise MoldiffError(f"forbidden: got {self.forbidden}, token ids are 0 to {self.num_tokens - 1}")
        if len(set(self.forbidden)) >= self.num_tokens:
            raise MoldiffError(f"forbidden: got all {self.num_tokens} tokens; at least one has to stay")

    @property
    def max_length(self) -> int:
        """The longest row that the network reads."""
        return int(self.inner.max_length)

    def new_cache(self) -> Any:
        """What a causal network keeps of the rows that it has read."""
        return self.inner.new_cache()

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None, *cache: Any) -> Tensor:
        """The network's log-probabilities, -inf where forbidden, normalised; in float32 at least."""
        log_p: Tensor = self.inner(x_t, t, cond, *cache)
        if log_p.dtype in (torch.bfloat16, torch.float16):
            log_p = log_p.float()
        index = torch.tensor(self.forbidden, dtype=torch.int64, device=log_p.device)
        return normalise(log_p.index_fill(-1, index, -math.inf))
