"""The law of self-correction, written out row by row, against what the sampler makes of it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moldiff.diffusion.categorical import draw
from moldiff.diffusion.random import RowRandom, Stream
from moldiff.diffusion.remasking import Cap, Confidence, Loop, Remasking, Rescale, View, changes
from moldiff.diffusion.sampler import Sampler
from moldiff.diffusion.walk import given
from moldiff.nn.cost import count_forwards
from moldiff.types import Rows

from .test_corrector import KINDS, LENGTH, MASK, ROWS, Opinion, even, rows_of, sampler_of, sharper


class Plainly:
    """The sampler's law for one row, with nothing remembered and nothing skipped."""

    def __init__(self, sampler: Sampler, net: nn.Module, guidance: Any, rows: Rows, at: int) -> None:
        assert rows.tokens is not None
        assert rows.frozen is not None
        assert sampler.corrector is not None
        self.sampler, self.net, self.guidance, self.how = sampler, net, guidance, sampler.corrector
        self.ids, self.random = rows.ids[at : at + 1], RowRandom(5)
        self.cond = None if rows.cond is None else rows.cond[at : at + 1]
        self.frozen = rows.frozen[at : at + 1]
        self.x = torch.where(self.frozen, rows.tokens[at : at + 1], MASK)
        self.forwards = 0

    def run(self) -> Tensor:
        confidence = torch.ones(1, LENGTH)
        for number, step in enumerate(self.sampler.grid()):
            self.masked = self.x == MASK
            visible = ~self.masked & ~self.frozen
            rates = self.sampler.remasking.rates(step, View(self.masked, visible, confidence))
            uniform = self.random.uniform(self.ids, number, LENGTH, Stream.EVENT)
            fire, back = changes(View(self.masked, visible, confidence), rates, uniform)
            due = self.how.corrections and number + 1 >= self.how.start and (number + 1) % self.how.every == 0
            before, old = self.x.clone(), visible
            if due and visible.any():
                law, chances = self.corrected(number, visible)
            elif fire.any():
                law = chances = self.said(self.x, self.x, self.guidance)
            else:
                law = chances = torch.zeros(1, LENGTH, KINDS)
            drawn = draw(law, self.random.uniform(self.ids, number, LENGTH, Stream.TOKEN))
            self.x = torch.where(fire, drawn, self.x)
            fresh = law.gather(-1, drawn[..., None])[..., 0].exp()
            mended = chances.gather(-1, self.x.clamp(max=KINDS - 1)[..., None])[..., 0].exp()
            confidence = torch.where(fire, fresh, torch.where(old & (self.x != before), mended, confidence))
            self.x = torch.where(back, MASK, self.x)
        if self.how.final:
            self.masked = torch.zeros_like(self.frozen)
            y, *_ = self.read(self.x, self.how.final, len(self.sampler.grid()), ~self.frozen, self.guidance)
            keep = self.how.gate and even(self.x) and not even(y)
            self.x = self.x if keep else y
        return self.x[0]

    def said(self, asked: Tensor, state: Tensor, guidance: Any, sharpened: bool = True) -> Tensor:
        def ask(conds: Any) -> list[Tensor]:
            self.forwards += len(conds)
            return [self.net(asked, torch.ones(1), c(self.cond)) for c in conds]

        law: Tensor = ask([given])[0] if guidance is None else guidance(ask, state, torch.ones(1))
        return self.sampler.readout(law) if sharpened else law

    def corrected(self, number: int, visible: Tensor) -> tuple[Tensor, Tensor]:
        guidance = self.guidance if self.how.guidance == "full" else None
        plain = self.said(self.x, self.x, guidance, sharpened=False)
        guess = torch.where(self.masked, plain.argmax(-1), self.x)
        y, law, raw = self.read(guess, self.how.corrections, number, visible, guidance)
        rejected = self.how.gate and bool(((guess != y) & visible).any()) and even(guess) and not even(y)
        if rejected:
            return self.sampler.readout(plain), raw
        self.x = torch.where(visible, y, self.x)
        return law if self.how.draw == "corrector" else self.sampler.readout(plain), raw

    def read(
        self, y: Tensor, most: int, number: int, visible: Tensor, guidance: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        mended = torch.zeros(1, LENGTH, KINDS)
        for reading in range(most):
            raw = self.said(y, torch.where(self.masked, MASK, y), guidance, sharpened=False)
            free = visible | self.masked
            if self.how.mode == "sample":
                address = number * max(self.how.corrections, self.how.final) + reading
                uniform = self.random.uniform(self.ids, address, LENGTH, Stream.CORRECTION)
                new = torch.where(free, draw(self.sampler.readout(raw), uniform), y)
            else:
                new = torch.where(free, raw.argmax(-1), y)
            if self.how.top_k:
                sure = raw.amax(-1).masked_fill(new == y, -torch.inf)
                last = sure.topk(self.how.top_k, -1).values[..., -1:]
                new = torch.where((sure >= last) & (new != y), new, y)
            mended = torch.where((new != y)[..., None], raw, mended)
            done, y = new.equal(y) and self.how.mode == "argmax", new
            if done:
                break
        return y, self.sampler.readout(raw), mended


LAWS: list[tuple[Remasking | None, Any, dict[str, Any]]] = [
    (None, sharper, {"every": 1}),
    (None, None, {"every": 1, "corrections": 5}),
    (None, sharper, {"every": 3, "corrections": 2, "start": 5}),
    (None, None, {"every": 2, "corrections": 3, "top_k": 1}),
    (None, None, {"every": 2, "corrections": 2, "mode": "sample", "final": 3}),
    (None, sharper, {"every": 2, "draw": "predictor"}),
    (None, sharper, {"every": 2, "guidance": "none", "corrections": 2}),
    (None, sharper, {"every": 1, "corrections": 3, "gate": True, "well_formed": even, "final": 2}),
    (None, None, {"every": 100, "final": 4}),
    (Cap(0.4), None, {"every": 1, "corrections": 2}),
    (Confidence(Rescale(0.9)), sharper, {"every": 2, "corrections": 2}),
    (
        Loop.model_time(Confidence(Rescale(1.0), balanced=True)),
        None,
        {"every": 1, "gate": True, "well_formed": even},
    ),
]


@pytest.mark.parametrize(("remasking", "guidance", "options"), LAWS, ids=map(str, range(len(LAWS))))
def test_what_is_skipped_and_remembered_changes_no_sample(
    remasking: Remasking | None, guidance: Any, options: dict[str, Any]
) -> None:
    sampler, rows, net = sampler_of(remasking, **options), rows_of(frozen=0.15), Opinion()
    with count_forwards(net) as cost:
        x = sampler(net, rows, guidance, seed=5)
    plain = [Plainly(sampler, net, guidance, rows, at) for at in range(ROWS)]
    for at, each in enumerate(plain):
        assert x[at].equal(each.run()), at
    assert cost.rows <= sum(each.forwards for each in plain)
    assert x[rows.frozen].equal(rows.tokens[rows.frozen])  # type: ignore[index]
