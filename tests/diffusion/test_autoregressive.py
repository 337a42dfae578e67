"""The autoregressive law by enumeration: its likelihood, its sampler, and what guidance sees of it."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from moldiff.diffusion.autoregressive import Autoregressive, AutoregressiveSampler, LengthLaw, NextToken
from moldiff.diffusion.objective import Batch
from moldiff.diffusion.random import RowRandom
from moldiff.diffusion.walk import Readout
from moldiff.errors import MoldiffError
from moldiff.guidance.classifier_free import ClassifierFree
from moldiff.guidance.completable import Completable
from moldiff.nn.cost import count_forwards
from moldiff.nn.embedding import ConditionSlot
from moldiff.nn.transformer import Transformer, TransformerConfig
from moldiff.types import Balance, Condition, Guidance, LogProbs, Rows

LAW = Autoregressive(2)
#: Every row of one to three tokens of two kinds.
STRINGS = [row for length in (1, 2, 3) for row in product(range(2), repeat=length)]


def network(tokens: int = 2, longest: int = 3, **options: Any) -> Transformer:
    torch.manual_seed(0)
    size = TransformerConfig(
        tokens + 1, tokens + 1, longest, width=16, depth=2, heads=2, causal=True, **options
    )
    net = Transformer(size)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    return net.eval().requires_grad_(False)


class Rereading(nn.Module):
    """The same network, reading whole rows every time."""

    def __init__(self, inner: Transformer) -> None:
        super().__init__()
        self.inner, self.max_length = inner, inner.max_length

    def new_cache(self) -> "Pages":
        return Pages()

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None, cache: Any = None) -> Tensor:
        whole = x if cache is None or cache.x is None else torch.cat([cache.x, x], 1)
        if cache is not None:
            cache.x = whole
        out: Tensor = self.inner(whole, t, cond)[:, -x.shape[1] :]
        return out


class Pages:
    """The tokens that were read."""

    x: Tensor | None = None

    @property
    def length(self) -> int:
        return 0 if self.x is None else self.x.shape[1]

    def select(self, index: Tensor) -> None:
        self.x = None if self.x is None else self.x[index]


class Overheard:
    """A guidance that also keeps what it was told."""

    def __init__(self, inner: Guidance) -> None:
        self.inner, self.heard = inner, list[Tensor]()

    def __call__(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
        def ask(conds: Sequence[Condition]) -> list[Tensor]:
            told = log_probs(conds)
            self.heard += told
            return told

        return self.inner(ask, x_t, t)


def surprise(net: Transformer, row: Sequence[int], cond: Tensor | None = None) -> tuple[float, float]:
    """-log p of a row by the chain rule: of its tokens given that it goes on, and of its length."""
    tokens = ends = 0.0
    for place in range(len(row) + 1):
        if place == net.max_length:
            break
        prefix = torch.tensor([[LAW.num_tokens, *row[:place]]])
        p = net(prefix, torch.zeros(1), cond)[0, -1].detach().double().exp()
        go = float(p[:2].sum())
        if place == len(row):
            ends -= math.log(1 - go)
            break
        if place > 0:
            ends -= math.log(go)
        tokens -= math.log(float(p[row[place]]) / go)
    return tokens, ends


def test_the_law_of_rows_up_to_the_longest_sums_to_one() -> None:
    net = network()
    total = sum(math.exp(-sum(surprise(net, row))) for row in STRINGS)
    assert total == pytest.approx(1, abs=1e-6)


def test_the_likelihood_of_a_row_is_the_sum_over_its_tokens() -> None:
    net = network()
    for row in STRINGS:
        x = torch.tensor([row])
        tokens, ends = LAW.surprise(net, x, None)
        given = Rows(
            torch.zeros(1, dtype=torch.int64), len(row), None, x, torch.ones_like(x, dtype=torch.bool)
        )
        found = NextToken(LAW, RowRandom(0)).bound(net, given, 1)
        assert found.length is not None
        assert float(found.tokens) == pytest.approx(surprise(net, row)[0], abs=1e-5)
        assert float(found.length) == pytest.approx(surprise(net, row)[1], abs=1e-5)
        assert float((tokens + ends).sum()) == pytest.approx(sum(surprise(net, row)), abs=1e-5)


def test_the_loss_is_the_likelihood_a_token() -> None:
    net, x = network().requires_grad_(True), torch.tensor([[0, 1], [1, 1]])
    batch = Batch(x, None, torch.arange(2), 2, 0, 8)
    loss = NextToken(LAW, RowRandom(0))(net, batch)
    whole = sum(sum(surprise(net, row)) for row in x.tolist())
    assert float(loss.nll) == pytest.approx(whole / 4, abs=1e-5)
    assert float(loss.total.detach()) == pytest.approx(whole / 8, abs=1e-5)
    loss.total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def drawn(net: Any, rows: Rows, guidance: Guidance | None = None, **options: Any) -> Tensor:
    return AutoregressiveSampler(LAW, **options)(net, rows, guidance, seed=3)


def strings(x: Tensor) -> list[tuple[int, ...]]:
    """The rows without what fills them up, which only ever stands at the end."""
    found = [tuple(v for v in row if v < LAW.num_tokens) for row in x.tolist()]
    assert [[*row] + [LAW.num_tokens] * (x.shape[1] - len(row)) for row in found] == x.tolist()
    return found


def misfit(found: list[tuple[int, ...]], law: dict[tuple[int, ...], float]) -> float:
    """The p-value of Pearson's test."""
    assert set(found) <= set(law)
    off = sum((found.count(row) - p * len(found)) ** 2 / (p * len(found)) for row, p in law.items())
    return float(chi2.sf(off, len(law) - 1))


def test_rows_of_their_own_length_follow_the_law() -> None:
    net = network()
    law = {row: math.exp(-sum(surprise(net, row))) for row in STRINGS}
    assert misfit(strings(drawn(net, Rows(torch.arange(6000), 3))), law) > 0.001


def test_rows_of_a_drawn_length_follow_the_law_of_rows_that_go_on() -> None:
    net = network()
    law = {row: math.exp(-surprise(net, row)[0]) for row in product(range(2), repeat=3)}
    assert sum(law.values()) == pytest.approx(1, abs=1e-6)
    assert misfit(strings(drawn(net, Rows(torch.arange(6000), 3), length="drawn")), law) > 0.001


@pytest.mark.parametrize("length", ["own", "drawn"])
def test_a_row_depends_on_its_number_alone(length: LengthLaw) -> None:
    net, ids = network(), torch.randperm(50, generator=torch.Generator().manual_seed(0))
    whole = drawn(net, Rows(torch.arange(50), 3), length=length)
    assert torch.equal(drawn(net, Rows(ids, 3), length=length), whole[ids])
    single = [drawn(net, Rows(torch.tensor([i]), 3), length=length)[0] for i in range(10)]
    assert torch.equal(torch.stack(single), whole[:10])
    other = AutoregressiveSampler(LAW, length)(net, Rows(torch.arange(50), 3), seed=4)
    assert not torch.equal(other, whole)


@pytest.mark.parametrize("halves", [1, 2])
def test_rows_that_have_ended_are_not_asked_about_again(halves: int) -> None:
    net = network(slots=(ConditionSlot(2),))
    rows = Rows(torch.arange(40), 3, torch.ones(40, 1))
    with count_forwards(net) as cost:
        x = drawn(net, rows, ClassifierFree(2.0 if halves == 2 else 1.0))
    sizes = [len(row) for row in strings(x)]
    # One for each token, and one for the end where it was not certain.
    assert cost.tokens == cost.rows == halves * sum(min(size + 1, 3) for size in sizes)
    assert len(set(sizes)) == 3


@pytest.mark.parametrize("length", ["own", "drawn"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_guidance_sees_the_same_with_and_without_the_cache(length: LengthLaw, scale: float) -> None:
    law = Autoregressive(5)
    net = network(5, 8, slots=(ConditionSlot(2), ConditionSlot()), time=True)
    cond = torch.tensor([[1.0, 0.2], [0.0, torch.nan], [torch.nan, -0.4], [1.0, torch.nan]]).repeat(5, 1)
    rows, sampler = Rows(torch.arange(20), 8, cond), AutoregressiveSampler(law, length)
    quick, slow = (Overheard(ClassifierFree(scale)) for _ in range(2))
    assert torch.equal(sampler(net, rows, quick), sampler(Rereading(net), rows, slow))
    assert len(quick.heard) == len(slow.heard) == (8 if scale < 2 else 16)
    for ours, theirs in zip(quick.heard, slow.heard, strict=True):
        assert ours.shape[1:] == (1, 6 if length == "own" else 5)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_a_guidance_that_asks_differently_at_each_place_is_told_the_truth() -> None:
    class Fickle:
        """Asks once, twice, and with other conditions than before."""

        def __call__(self, log_probs: LogProbs, x_t: Tensor, t: Tensor) -> Tensor:
            place = int((x_t != LAW.num_tokens).sum(1).max())
            if place == 1:
                log_probs([lambda c: c, lambda c: c])
            return log_probs([lambda c: None if c is None else c * 0 + place % 2])[0]

    net = network(slots=(ConditionSlot(2),))
    rows = Rows(torch.arange(20), 3, torch.ones(20, 1))
    quick, slow = Overheard(Fickle()), Overheard(Fickle())
    options: dict[str, Any] = {"length": "drawn"}
    assert torch.equal(drawn(net, rows, quick, **options), drawn(Rereading(net), rows, slow, **options))
    for ours, theirs in zip(quick.heard, slow.heard, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_a_sharp_read_out_takes_the_likeliest_token() -> None:
    net = network()
    x = drawn(net, Rows(torch.arange(20), 3), readout=Readout(top_p=0.01))
    assert len(set(strings(x))) == 1
    assert torch.equal(x, drawn(net, Rows(torch.arange(20), 3), readout=Readout(temperature=1e-4)))
    row, done = (), False
    while len(row) < 3 and not done:
        log_p = net(torch.tensor([[2, *row]]), torch.zeros(1))[0, -1]
        best = int(log_p[: 3 if row else 2].argmax())
        row, done = (row, True) if best == 2 else ((*row, best), False)
    assert strings(x)[0] == row


@pytest.mark.parametrize("length", ["own", "drawn"])
def test_given_tokens_stay_and_rows_do_not_end_before_them(length: LengthLaw) -> None:
    net = network(longest=6)
    frozen = torch.zeros(30, 6, dtype=torch.bool)
    frozen[:, 0] = True
    frozen[:15, 3] = True
    tokens = torch.ones(30, 6, dtype=torch.int64)
    x = drawn(net, Rows(torch.arange(30), 6, None, tokens, frozen), length=length)
    sizes = torch.tensor([len(row) for row in strings(x)])
    assert (x[frozen] == 1).all()
    assert (sizes[:15] >= 4).all()
    assert (sizes[15:] < 4).any() == (length == "own")
    everything = torch.ones_like(frozen)
    given = Rows(torch.arange(30), 6, None, tokens, everything)
    with count_forwards(net) as cost:
        assert torch.equal(drawn(net, given, length=length), tokens)
    assert cost.calls == 0


def test_completable_rows_match_their_brackets_from_left_to_right() -> None:
    law, net = Autoregressive(4), network(4, 8)
    rules = Completable(ClassifierFree(1.0), 4, Balance(even=(2,), pairs=((0, 1),)))
    rows, sampler = Rows(torch.arange(60), 8), AutoregressiveSampler(law, "drawn")

    def whole(row: list[int]) -> bool:
        depth = [row[:n].count(0) - row[:n].count(1) for n in range(9)]
        return min(depth) >= 0 and depth[-1] == 0 and row.count(2) % 2 == 0

    assert all(whole(row) for row in sampler(net, rows, rules).tolist())
    assert not all(whole(row) for row in sampler(net, rows).tolist())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Autoregressive(0), "num_tokens: got 0"),
        (
            lambda: AutoregressiveSampler(LAW, "any"),
            "length of autoregressive: got 'any', choose from own, drawn",
        ),  # type: ignore[arg-type]
        (lambda: NextToken(LAW, RowRandom(0), 0.1), "t_min: got 0.1, but autoregressive has no time"),
    ],
)
def test_what_has_no_meaning_is_refused(make: Any, message: str) -> None:
    with pytest.raises(MoldiffError, match=message):
        make()
