"""Rewriting of finished rows: exact on laws so small that every row can be looked at."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import moldiff
from moldiff.diffusion.presets import self_correct
from moldiff.diffusion.random import RowRandom
from moldiff.diffusion.remasking import Ancestral
from moldiff.diffusion.rewriting import RewritingSampler
from moldiff.diffusion.sampler import Sampler
from moldiff.diffusion.walk import Readout, Unguided, Walk
from moldiff.errors import MoldiffError, Unfit
from moldiff.generation.plan import read_targets
from moldiff.generation.request import Request
from moldiff.nn.cost import count_forwards
from moldiff.types import Rows


def rewriting(toy: Any, readings: int, t: float = 0.3) -> RewritingSampler:
    return RewritingSampler(Sampler(toy.uniform(), 2, Ancestral()), readings, t)


def after(toy: Any, readings: int, x: Tensor, frozen: Tensor | None = None) -> Tensor:
    """What readings by the exact network make of rows x (B, L)."""
    rows = Rows(torch.arange(len(x)), toy.length, None)
    walk = Walk(toy.denoiser(toy.uniform()), Unguided(), rows, RowRandom(0), Readout())
    return rewriting(toy, readings).rewritten(
        walk, x, torch.zeros_like(x).bool() if frozen is None else frozen
    )


def chance(toy: Any, t: float) -> Tensor:
    """The chance of every row at time t, (K**L,)."""
    return toy.law @ toy.noised(toy.uniform(), 1 - t)


def neighbours(toy: Any) -> Tensor:
    """Flags (K**L, K**L) of the rows that differ in one token at most."""
    return (toy.clean[:, None] != toy.clean).sum(-1) <= 1


def test_a_reading_goes_to_a_likelier_neighbour_or_stays_where_there_is_none(triple: Any) -> None:
    x, law = triple.clean, chance(triple, 0.3)
    new = after(triple, 1, x)
    assert ((new != x).sum(-1) <= 1).all()
    peak = torch.where(neighbours(triple), law, 0.0).max(-1).values <= law
    moved = (new != x).any(-1)
    # Of all that could be rewritten, the token that leads the present one by most.
    alone = triple.leave_one_out(triple.uniform(), x, 0.7)
    lead, token = (alone - alone.gather(-1, x[..., None])).max(-1)
    place = lead.argmax(-1, keepdim=True)
    assert torch.equal(new, torch.where(moved[:, None], x.scatter(-1, place, token.gather(-1, place)), x))
    assert 0 < peak.sum() < len(peak)
    assert torch.equal(moved, ~peak)
    assert (law[triple.code(new, triple.tokens)] > law)[moved].all()


def test_readings_end_at_local_modes_and_a_row_that_is_done_is_not_read_again(triple: Any) -> None:
    x = triple.clean
    modes = x[~(after(triple, 1, x) != x).any(-1)]
    ends = after(triple, len(x), x)
    assert all((end == modes).all(-1).any() for end in ends)
    rows = Rows(torch.arange(len(modes)), triple.length, None)
    network = triple.denoiser(triple.uniform())
    walk = Walk(network, Unguided(), rows, RowRandom(0), Readout())
    with count_forwards(network) as cost:
        rewriting(triple, 9).rewritten(walk, modes, torch.zeros_like(modes).bool())
    assert cost.rows == len(modes)


def test_what_is_frozen_stays(triple: Any) -> None:
    x = triple.clean
    frozen = torch.zeros_like(x).bool()
    frozen[:, 0] = True
    ends = after(triple, len(x), x, frozen)
    assert torch.equal(ends[:, 0], x[:, 0])
    assert not torch.equal(ends, x)
    assert torch.equal(after(triple, 5, x, torch.ones_like(x).bool()), x)


def test_no_reading_leaves_the_ancestral_sample(triple: Any) -> None:
    rows = Rows(torch.arange(50), triple.length, None)
    network = triple.denoiser(triple.uniform())
    plain = Sampler(triple.uniform(), 2, Ancestral())(network, rows, seed=4)
    assert torch.equal(rewriting(triple, 0)(network, rows, seed=4), plain)
    assert torch.equal(rewriting(triple, 3)(network, rows, seed=4), after(triple, 3, plain))


def test_molecules_are_mended_within_the_steps_and_each_by_itself(tmp_path: Path) -> None:
    # Rows that ask for different classes and are done after different readings.
    (tmp_path / "asked.csv").write_text("ring_count\n" + "high\nlow\n" * 20, "utf-8")
    model = moldiff.load("qm9-study-uniform", "cpu")
    asked = {"scale": 2.0, "steps": 16, "temperature": 0.7, "seed": 1, "precision": "fp32"}
    targets = read_targets(tmp_path / "asked.csv", 1)
    together, alone, plain = (
        model.run(Request(40, targets_from=targets, sampler=sampler, batch_size=size, **asked))
        for sampler, size in (("self-correct", 40), ("self-correct", 1), ("ancestral", 40))
    )
    assert list(together.frame["raw"]) == list(alone.frame["raw"])
    assert together.summary["validity"] > plain.summary["validity"]
    assert 8 < together.summary["forwards_per_molecule"] < plain.summary["forwards_per_molecule"] == 32


def test_a_share_of_the_steps_are_readings(triple: Any) -> None:
    for share, steps, readings in ((0.75, 32, 24), (0.5, 1, 0), (0.99, 2, 1), (0.0, 5, 0)):
        found = self_correct(triple.uniform(), steps, None, Readout(), share=share)
        assert (found.readings, found.sampler.steps, found.steps) == (readings, steps - readings, steps)
    for share in (-0.1, 1.0):
        with pytest.raises(MoldiffError, match="share of self-correct: got"):
            self_correct(triple.uniform(), 8, None, Readout(), share=share)


def test_bad_settings_are_refused(triple: Any) -> None:
    with pytest.raises(Unfit, match="rewriting: got a process of masks, it takes uniform noise only"):
        RewritingSampler(Sampler(triple.masked(), 2, Ancestral()), 1)
    with pytest.raises(MoldiffError, match="readings of rewriting: got -1"):
        rewriting(triple, -1)
    for t in (0.0, 1.0):
        with pytest.raises(MoldiffError, match=f"t of rewriting: got {t}"):
            rewriting(triple, 1, t)
