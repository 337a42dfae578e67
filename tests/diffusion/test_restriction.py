"""Restriction: the exact laws of samplers whose network gives some tokens no chance, and no such token."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from moldiff import registry
from moldiff.assembly import build_sampler, samplers_of
from moldiff.config import Setting
from moldiff.diffusion.autoregressive import Autoregressive, AutoregressiveSampler
from moldiff.diffusion.remasking import Ancestral, Cap, Remasking, Rescale
from moldiff.diffusion.restriction import Restricted
from moldiff.diffusion.sampler import FirstHittingSampler, Sampler
from moldiff.diffusion.walk import Unguided
from moldiff.errors import MoldiffError
from moldiff.guidance.classifier_based import TokenChoice
from moldiff.guidance.completable import Completable
from moldiff.guidance.fudge import Fudge
from moldiff.types import Balance, Rows

SAMPLES = 20_000
BARRED = 2


def barred(toy: Any) -> Any:
    """The toy whose exact denoisers are conditioned, position by position, on no token being ``BARRED``."""

    class Conditioned(type(toy)):  # type: ignore[misc]
        def leave_one_out(self, *of: Any) -> Tensor:
            p: Tensor = super().leave_one_out(*of).clone()
            p[..., BARRED] = 0
            return p / p.sum(-1, keepdim=True)

    return Conditioned(toy.joint)


def test_a_restricted_prediction_is_the_conditional_law(pair: Any) -> None:
    process = pair.masked()
    x, t = pair.states(4), torch.ones(16)
    whole = pair.denoiser(process)(x, t).exp()
    found = Restricted(pair.denoiser(process), (BARRED,), 3)(x, t).exp()
    assert (found[..., BARRED] == 0).all()
    rest = whole[..., :BARRED]
    torch.testing.assert_close(found[..., :BARRED], rest / rest.sum(-1, keepdim=True))


@pytest.mark.parametrize(
    ("forbidden", "says"), [((0, 1, 2), "all 3 tokens"), ((3,), "0 to 2"), ((-1,), "0 to 2")]
)
def test_what_leaves_nothing_or_is_no_token_is_refused(forbidden: tuple[int, ...], says: str) -> None:
    with pytest.raises(MoldiffError, match=says):
        Restricted(None, forbidden, 3)


def test_first_hitting_has_the_law_of_both_orders(pair: Any) -> None:
    joint = pair.joint[:BARRED, :BARRED]
    first, second = pair.joint.sum(1)[:BARRED], pair.joint.sum(0)[:BARRED]
    onward = joint / joint.sum(1, keepdim=True), joint / joint.sum(0, keepdim=True)
    both = (first / first.sum())[:, None] * onward[0] + (second / second.sum()) * onward[1]
    law = torch.zeros_like(pair.joint)
    law[:BARRED, :BARRED] = both / 2
    denoiser = Restricted(pair.denoiser(pair.masked()), (BARRED,), 3)
    x = FirstHittingSampler(pair.masked())(denoiser, Rows(torch.arange(SAMPLES), 2))
    assert pair.misfit(x, law.flatten()) > 1e-3
    # To draw and throw away would give the joint law given both, which is another.
    thrown = torch.zeros_like(law)
    thrown[:BARRED, :BARRED] = joint / joint.sum()
    assert pair.misfit(x, thrown.flatten()) < 1e-3


@pytest.mark.parametrize("remasking", [Ancestral(), Cap(0.3), Rescale(0.7)], ids=str)
@pytest.mark.parametrize("name", ["masked", "uniform"])
def test_samples_follow_the_exact_chain(name: str, remasking: Remasking, pair: Any) -> None:
    process, toy = getattr(pair, name)(), barred(pair)
    law = toy.on_data(process, toy.chain(process, remasking, 8)[-1])
    assert float(law.sum()) == pytest.approx(1, abs=1e-9)
    assert law[(toy.clean == BARRED).any(-1)].abs().max() < 1e-15
    denoiser = Restricted(pair.denoiser(process), (BARRED,), 3)
    x = Sampler(process, 8, remasking)(denoiser, Rows(torch.arange(SAMPLES), 2))
    assert pair.misfit(x, law.masked_fill(law < 1e-15, 0)) > 1e-3


class Table:
    """A causal network that knows p(next of three tokens or the end | row up to here) by heart."""

    max_length = 2

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(1)
        self.log_p = torch.rand(4, 4, generator=source, dtype=torch.float64).log_softmax(-1)

    def new_cache(self) -> Any:
        return Read()

    def __call__(self, x: Tensor, t: Tensor, cond: Any = None, cache: Any = None) -> Tensor:
        if cache is not None:
            cache.length += x.shape[1]
        return self.log_p[x]


class Read:
    length = 0

    def select(self, index: Tensor) -> None: ...


def test_autoregressive_rows_follow_the_law_place_by_place() -> None:
    net, law = Table(), {}
    p = net.log_p.exp()
    p[:, 1] = 0
    start, onward = p[3, :3] / p[3, :3].sum(), p / p.sum(-1, keepdim=True)
    for row in product((0, 2), (0, 2, 3)):
        law[row] = float(start[row[0]] * onward[row[0], row[1]])
    assert sum(law.values()) == pytest.approx(1)
    sampler = AutoregressiveSampler(Autoregressive(3))
    x = sampler(Restricted(net, (1,), 3), Rows(torch.arange(SAMPLES), 2))
    rows = [tuple(row) for row in x.tolist()]
    assert set(rows) <= set(law)
    for row, chance in law.items():
        spread = 4 * math.sqrt(chance * (1 - chance) * SAMPLES)
        assert abs(rows.count(row) - chance * SAMPLES) < spread


def test_no_sampler_draws_what_is_forbidden(pair: Any) -> None:
    drawn = 0
    for process in (pair.masked(), pair.uniform()):
        for name in samplers_of(process):
            options = {"eta": 0.5} if "remdm" in name or name == "dfm" else {}
            sampler = build_sampler(process, Setting(sampler=name, steps=16, options=options))
            denoiser = Restricted(pair.denoiser(process), (BARRED,), 3)
            x = sampler(denoiser, Rows(torch.arange(300), 2))
            assert int(x.max()) < BARRED, name
            drawn += 1
    assert drawn > 0.5 * len(registry.SAMPLERS)


def test_a_guidance_chooses_among_what_is_left(pair: Any) -> None:
    # A nucleus of the whole law would hold the barred token alone, and then there would be nothing to draw.
    table = torch.tensor([0.05, 0.05, 0.9]).log().expand(1, 2, 3)

    def denoiser(x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        return table.expand(len(x_t), 2, 3)

    def classifier(x_t: Tensor, t: Tensor) -> Tensor:
        zeros = (x_t == 0).double().sum(-1)
        return torch.stack([0.5 - 0.1 * zeros, 0.5 + 0.1 * zeros], -1).log()[:, None]

    rows = Rows(torch.arange(500), 2, torch.ones(500, 1))
    guidance = TokenChoice(Unguided(), classifier, 1, scale=20.0, top_p=0.9)
    x = FirstHittingSampler(pair.masked())(Restricted(denoiser, (BARRED,), 3), rows, guidance)
    assert int(x.max()) < BARRED
    assert float((x == 0).double().mean()) > 0.8


def test_fudge_asks_about_what_is_left() -> None:
    net = Table()
    net.log_p = torch.tensor([0.05, 0.8, 0.05, 0.1]).log().expand(4, 4)

    def classifier(x: Tensor, t: Tensor, fork: int | None = None) -> Tensor:
        return torch.full((*x.shape, 1, 2), 0.5).log()

    rows = Rows(torch.arange(200), 2, torch.ones(200, 1))
    sampler = AutoregressiveSampler(Autoregressive(3))
    x = sampler(Restricted(net, (1,), 3), rows, Fudge(Unguided(), classifier, 1, 3, top_k=1))
    assert not (x == 1).any()


def test_completable_rows_give_way_to_what_is_forbidden(pair: Any) -> None:
    # 0 opens what 1 closes: with 1 barred no row is well formed, and still there is a law to draw from.
    guidance = Completable(Unguided(), 3, Balance(pairs=((0, 1),), never_first=(2,), never_last=(2, 0)))
    denoiser = Restricted(pair.denoiser(pair.masked()), (1,), 3)
    x, t = pair.states(4), torch.ones(16)
    p = guidance(lambda conds: [denoiser(x, t)], x, t).exp()
    torch.testing.assert_close(p.sum(-1), torch.ones(16, 2, dtype=p.dtype))
    assert (p[..., 1] == 0).all()
    drawn = FirstHittingSampler(pair.masked())(denoiser, Rows(torch.arange(200), 2), guidance)
    assert set(drawn.flatten().tolist()) <= {0, 2}
