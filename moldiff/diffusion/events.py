"""Events drawn ahead of the network: which positions change at which step, when the chances allow it.

For masks, a schedule whose chances do not depend on the network decides *when* and *where* before anyone
knows *what*. So the whole walk can be drawn first, cheaply, and then be played with few, full batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from moldiff.diffusion.random import Stream
from moldiff.diffusion.remasking import Remasking, Step, View, changes
from moldiff.diffusion.walk import Visit, Walk

#: Random numbers drawn at once, over rows x steps x positions: enough to hide the cost of a call.
BLOCK = 1 << 20


@final
@dataclass(frozen=True)
class _Moment:
    """The rows (N,) that reveal something in one step, how often each has before, and the flags (N, L)."""

    index: Tensor
    ordinal: Tensor
    before: Tensor
    fire: Tensor
    after: Tensor


def plan(
    remasking: Remasking, grid: list[Step], walk: Walk, masked: Tensor, frozen: Tensor
) -> list[tuple[Tensor, Visit, Tensor]]:
    """The visits to the network that play a whole walk from the masked flags (B, L).

    Each is (before, visit, after): positions (N, L) given back since the row's last visit, the visit, and
    positions given back in the step of the visit itself. The k-th visit of every row is in the k-th entry.
    """
    moments: dict[int, _Moment] = {}
    pending = torch.zeros_like(masked)
    ordinal = torch.zeros(masked.shape[0], dtype=torch.int64, device=masked.device)
    free, never = ~frozen, torch.ones(masked.shape, device=masked.device)
    view = View(masked & free, ~masked & free, never)
    for number, step, chance in _chances(grid, walk, masked.shape):
        fire, back = changes(view, remasking.rates(step, view), chance)
        changed = fire | back
        if not changed.any():  # most steps of a long walk
            continue
        view = View(view.masked ^ changed, view.visible ^ changed, never)
        revealing = fire.any(-1)
        index = revealing.nonzero().squeeze(-1)
        if len(index):
            flags = pending[index], fire[index], back[index]
            moments[number] = _Moment(index, ordinal[index], *flags)
            ordinal[index] += 1
        pending = (pending | back) & ~revealing[:, None]
    return _by_ordinal(moments, grid)


def _chances(grid: list[Step], walk: Walk, shape: torch.Size) -> Iterator[tuple[int, Step, Tensor]]:
    """Each step with its number and its uniforms (B, L), which are drawn for many steps at a time."""
    batch, length = shape
    block = max(1, BLOCK // max(1, batch * length))
    for first in range(0, len(grid), block):
        steps = grid[first : first + block]
        numbers = torch.arange(first, first + len(steps), device=walk.rows.ids.device)
        ids = walk.rows.ids.repeat(len(steps))
        drawn = walk.random.uniform(ids, numbers.repeat_interleave(batch), length, Stream.EVENT)
        for place, chance in enumerate(drawn.view(len(steps), batch, length)):
            yield first + place, steps[place], chance


def _by_ordinal(moments: dict[int, _Moment], grid: list[Step]) -> list[tuple[Tensor, Visit, Tensor]]:
    """The moments regrouped, so that every row's k-th stand together."""
    if not moments:
        return []
    parts = list(moments.values())
    sizes = torch.tensor([len(part.index) for part in parts])
    number = torch.tensor(list(moments)).repeat_interleave(sizes)
    t = torch.tensor([grid[n].t for n in moments]).repeat_interleave(sizes)
    ordinal = torch.cat([part.ordinal for part in parts])
    order = ordinal.argsort(stable=True)
    counts = ordinal.bincount().tolist()
    columns = [
        torch.cat([part.index for part in parts]),
        number.to(ordinal.device),
        t.to(ordinal.device, torch.float32),
        *(torch.cat([getattr(part, name) for part in parts]) for name in ("before", "fire", "after")),
    ]
    split = zip(*(torch.split(column[order], counts) for column in columns), strict=True)
    return [(before, Visit(index, number, t, fire), after) for index, number, t, before, fire, after in split]
