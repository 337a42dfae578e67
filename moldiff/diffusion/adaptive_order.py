"""Sampling in an order that the network itself suggests: where it is surest goes first."""

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from moldiff.diffusion.categorical import draw
from moldiff.diffusion.process import Process
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.diffusion.walk import Readout, Unguided, Walk
from moldiff.errors import MoldiffError
from moldiff.types import Denoiser, Guidance, Rows


@final
@dataclass(frozen=True)
class AdaptiveOrderSampler:
    """One token at a time, at the position where the best token leads the second by most.

    With an exact network any order gives the law of the data. A trained one is wrong where much is undecided;
    going there last, when more is known, makes fewer mistakes (Kim et al., 2025, arXiv:2502.06768, top
    probability margin). Costs exactly one forward a generated token. For masks only.

    Args:
        process: the forward process that the denoiser was trained on.
        noise: most that is added at random to a margin, which lies in [0, 1]: 0 always takes the surest
            position, larger values mix the orders and make samples more diverse.
        readout: temperature and nucleus of the tokens drawn; the order looks at the prediction before that.
    """

    process: Process
    noise: float = 1.0
    readout: Readout = field(default_factory=Readout)

    def __post_init__(self) -> None:
        if not self.process.events_first:
            raise MoldiffError("adaptive-order: got a process without masks, choose a masked model")
        if not 0 <= self.noise < math.inf:
            raise MoldiffError(f"noise of adaptive-order: got {self.noise}, must be 0 or more and finite")

    @torch.no_grad()
    def __call__(
        self, denoiser: Denoiser, rows: Rows, guidance: Guidance | None = None, seed: int = 0
    ) -> Tensor:
        """Clean tokens (B, L); row i depends on (seed, rows.ids[i]) alone."""
        walk = Walk(denoiser, guidance or Unguided(), rows, RowRandom(seed), self.readout)
        x, frozen = walk.start(self.process)
        for number in range(rows.length):
            left = self.process.is_noise(x) & ~frozen
            index = left.any(-1).nonzero().squeeze(-1)
            if not len(index):
                break
            x[index] = self._reveal(walk, x[index], left[index], index, number)
        return x

    def _reveal(self, walk: Walk, x_t: Tensor, left: Tensor, index: Tensor, number: int) -> Tensor:
        """Rows ``index`` of the walk, x_t (N, L), after one of the positions ``left`` (N, L) in each."""
        ids, length = walk.rows.ids[index], walk.rows.length
        cond = None if walk.rows.cond is None else walk.rows.cond[index]
        # The time at which this share of the row is masked on average.
        t = self.process.schedule.inverse(1 - left.double().mean(-1)).float()
        log_p = walk.guidance(walk.asker(x_t, t, cond), x_t, t)
        place = self._surest(walk, log_p, left, ids, number)
        rows = torch.arange(len(ids), device=ids.device)
        uniform = walk.random.uniform(ids, number, length, Stream.TOKEN)[rows, place]
        x_s = x_t.clone()
        x_s[rows, place] = draw(self.readout(log_p[rows, place]), uniform)
        return x_s

    def _surest(self, walk: Walk, log_p: Tensor, left: Tensor, ids: Tensor, number: int) -> Tensor:
        """The positions (N,) with the largest margin, noise added."""
        best = log_p.exp().topk(min(2, log_p.shape[-1]), dim=-1).values
        margin = best[..., 0] - best[..., -1]
        uniform = walk.random.uniform(ids, number, left.shape[1], Stream.ORDER)
        noisy = margin.to(uniform.dtype) + self.noise * uniform
        return noisy.masked_fill(~left, -1.0).argmax(-1)
