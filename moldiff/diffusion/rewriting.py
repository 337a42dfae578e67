"""Mending finished rows of uniform noise: a token a reading, where another fits better beside the rest."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from moldiff.diffusion.process import Process
from moldiff.diffusion.random import RowRandom
from moldiff.diffusion.sampler import Sampler
from moldiff.diffusion.walk import Unguided, Walk
from moldiff.errors import MoldiffError, Unfit
from moldiff.types import Denoiser, Guidance, Rows


def need_tokens(process: Process, what: str) -> None:
    """Refuses a process of masks, for a policy that reads what every token is worth beside the others."""
    if process.events_first:
        raise Unfit(what, "a process of masks", "uniform noise only")


@final
@dataclass(frozen=True)
class RewritingSampler:
    """Draws rows, then lets the network read them and rewrite one token a reading (uniform noise only).

    What a network of uniform noise predicts of a place is the law of its token given all others, so one
    forward says of every token whether another would fit better. The place where the likeliest token leads
    the present one by most is rewritten; a row without such a place is done. With an exact network, unguided,
    each rewriting makes the row likelier at time ``t``, so that it ends in a local mode: fewer mistakes, and
    less that is new. A trained one may go in circles until the readings are spent. After the self-correction
    of von Rütte et al. (2025, arXiv:2503.04482).

    Guidance acts on what a reading predicts, whatever its level while rows are drawn; temperature and nucleus
    are for drawing only. Nobody steers: what is rewritten after the last step would belie the weights.

    Args:
        sampler: what draws the rows.
        readings: most readings of a row; a row that is done is not read again.
        t: the time at which rows are shown to the network, in (0, 1): small where it knows of little noise.
    """

    sampler: Sampler
    readings: int
    t: float = 0.05

    def __post_init__(self) -> None:
        need_tokens(self.sampler.process, "rewriting")
        if self.readings < 0:
            raise MoldiffError(f"readings of rewriting: got {self.readings}, must be 0 or more")
        if not 0 < self.t < 1:
            raise MoldiffError(f"t of rewriting: got {self.t}, must be between 0 and 1")

    @property
    def steps(self) -> int:
        """Steps and readings together: the most forwards that a row costs."""
        return self.sampler.steps + self.readings

    @torch.no_grad()
    def __call__(
        self, denoiser: Denoiser, rows: Rows, guidance: Guidance | None = None, seed: int = 0
    ) -> Tensor:
        """Clean tokens (B, L); row i depends on (seed, rows.ids[i]) alone."""
        x = self.sampler(denoiser, rows, guidance, seed)
        walk = Walk(denoiser, guidance or Unguided(), rows, RowRandom(seed), self.sampler.readout)
        return self.rewritten(walk, x, walk.start(self.sampler.process)[1])

    def rewritten(self, walk: Walk, x: Tensor, frozen: Tensor) -> Tensor:
        """Rows x (B, L) after their readings; what is ``frozen`` (B, L) stays."""
        x = x.clone()
        going = (~frozen).any(-1).nonzero().squeeze(-1)
        for _ in range(self.readings):
            if not len(going):
                break
            old = x[going]
            t = torch.full((len(going),), self.t, device=x.device)
            p = walk.predict(old, going, t).exp()
            best, token = p.max(-1)
            lead = (best - p.gather(-1, old[..., None]).squeeze(-1)).masked_fill(frozen[going], 0.0)
            most, place = lead.max(-1, keepdim=True)
            x[going] = torch.where(most > 0, old.scatter(-1, place, token.gather(-1, place)), old)
            going = going[most.squeeze(-1) > 0]
        return x
