"""FUDGE: the exact conditional law from exact prefixes, its limits, and what it costs."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from moldiff.diffusion.autoregressive import Autoregressive, AutoregressiveSampler
from moldiff.errors import MoldiffError
from moldiff.guidance.classifier_free import ClassifierFree
from moldiff.guidance.fudge import Fudge
from moldiff.nn.classifier import Classifier
from moldiff.nn.cost import count_forwards
from moldiff.nn.embedding import ConditionSlot
from moldiff.nn.transformer import Transformer, TransformerConfig
from moldiff.types import Rows

LAW, LONGEST = Autoregressive(2), 3
STRINGS = [row for length in (1, 2, 3) for row in product(range(2), repeat=length)]


def chance(row: tuple[int, ...]) -> float:
    """p(y = 1 | row) of the toy's label: rows with more ones are likelier to have it."""
    return (0.1 + sum(row)) / 3.5


class Model(nn.Module):
    """A fixed law over ``STRINGS`` as a network that answers at every prefix."""

    max_length = LONGEST

    def __init__(self) -> None:
        super().__init__()
        weights = torch.rand(len(STRINGS), generator=torch.Generator().manual_seed(0)).tolist()
        self.p = {row: w / sum(weights) for row, w in zip(STRINGS, weights, strict=True)}

    def mass(self, prefix: tuple[int, ...]) -> float:
        """p(the row starts so)."""
        return sum(p for row, p in self.p.items() if row[: len(prefix)] == prefix)

    def new_cache(self) -> Any:
        return Read()

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None, cache: Any = None) -> Tensor:
        assert cache is not None
        cache.x = x if cache.x is None else torch.cat([cache.x, x], 1)
        out = [
            [*(self.mass((*row, v)) for v in range(2)), self.p.get(row, 0.0)]
            for row in self.prefixes(cache.x)
        ]
        p = torch.tensor(out, dtype=torch.float64)
        return (p / p.sum(-1, keepdim=True)).log()[:, None]

    def prefixes(self, x: Tensor) -> list[tuple[int, ...]]:
        return [tuple(row[1:]) for row in x.tolist()]


class Read:
    """The tokens that were read."""

    x: Tensor | None = None

    @property
    def length(self) -> int:
        return 0 if self.x is None else self.x.shape[1]

    def select(self, index: Tensor) -> None:
        self.x = None if self.x is None else self.x[index]


class Knows:
    """The exact p(y | prefix) of the toy, of a whole row where the end follows."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __call__(self, x: Tensor, t: Tensor, fork: int | None = None) -> Tensor:
        assert fork is not None
        out = [[self.given((*row[1:fork], v)) for v in row[fork:]] for row in x.tolist()]
        p = torch.tensor(out, dtype=torch.float64)
        return torch.cat([torch.zeros(len(x), fork, 2), torch.stack([1 - p, p], -1).log()], 1)[:, :, None]

    def given(self, row: tuple[int, ...]) -> float:
        if row[-1] == 2:
            return chance(row[:-1])
        within = {r: p for r, p in self.model.p.items() if r[: len(row)] == row}
        total = sum(within.values())
        return sum(p * chance(r) for r, p in within.items()) / total


def asked(rows: int) -> Rows:
    return Rows(torch.arange(rows), LONGEST, torch.ones(rows, 1))


def test_with_exact_answers_and_scale_1_rows_follow_the_conditional_law() -> None:
    model = Model()
    law = {row: p * chance(row) for row, p in model.p.items()}
    law = {row: p / sum(law.values()) for row, p in law.items()}
    assert max(abs(law[row] - model.p[row]) for row in law) > 0.05
    guidance = Fudge(ClassifierFree(0.0), Knows(model), 1, 2)
    x = AutoregressiveSampler(LAW)(model, asked(5000), guidance, seed=1)
    found = [tuple(v for v in row if v < 2) for row in x.tolist()]
    off = sum((found.count(row) - p * len(found)) ** 2 / (p * len(found)) for row, p in law.items())
    assert float(chi2.sf(off, len(law) - 1)) > 0.001


def real(tokens: int = 5) -> tuple[Transformer, Classifier]:
    """A random model and a random classifier of two labels."""
    torch.manual_seed(0)
    slots = (ConditionSlot(2), ConditionSlot(3))
    options: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "causal": True}
    model = Transformer(TransformerConfig(tokens + 1, tokens + 1, 8, slots=slots, **options))
    classifier = Classifier(TransformerConfig(tokens + 1, tokens + 1, 10, slots=slots, **options))
    for parameter in (*model.parameters(), *classifier.parameters()):
        nn.init.normal_(parameter, std=0.4)
    return model.eval().requires_grad_(False), classifier.eval().requires_grad_(False)


def both() -> Rows:
    """Rows that are asked for both labels, for one, and for none; the model itself is told nothing."""
    classes = torch.tensor([[1.0, 2.0], [0.0, torch.nan], [torch.nan] * 2]).repeat(8, 1)
    return Rows(torch.arange(24), 8, torch.cat([torch.full((24, 2), torch.nan), classes], 1))


def draw(rows: Rows, parts: tuple[Transformer, Classifier], **options: Any) -> Tensor:
    length = options.pop("length", "own")
    guidance = Fudge(ClassifierFree(0.0), parts[1], 2, 5, **options)
    return AutoregressiveSampler(Autoregressive(5), length)(parts[0], rows, guidance, seed=2)


@pytest.mark.parametrize("length", ["own", "drawn"])
def test_scale_0_is_the_model_and_asks_no_classifier(length: str) -> None:
    parts, rows = real(), both()
    plain = AutoregressiveSampler(
        Autoregressive(5), length
    )(  # type: ignore[arg-type]
        parts[0], Rows(rows.ids, 8, None if rows.cond is None else rows.cond[:, :2]), seed=2
    )
    with count_forwards(parts[1]) as cost:
        assert torch.equal(draw(rows, parts, scale=0.0, length=length), plain)
        assert torch.equal(draw(rows, parts, scale=0.0, top_k=1, length=length), plain)
    assert cost.calls == 0
    guided = draw(rows, parts, scale=4.0, length=length)
    # Rows that are asked nothing are the model's own.
    assert torch.equal(guided[2::3], plain[2::3])
    assert not torch.equal(guided[::3], plain[::3])


@pytest.mark.parametrize("length", ["own", "drawn"])
def test_all_tokens_as_top_k_are_no_top_k(length: str) -> None:
    parts, rows = real(), both()
    whole = draw(rows, parts, scale=2.0, length=length)
    assert torch.equal(draw(rows, parts, scale=2.0, top_k=6, length=length), whole)
    assert torch.equal(draw(rows, parts, scale=2.0, budget=1, length=length), whole)
    assert not torch.equal(draw(rows, parts, scale=2.0, top_k=1, length=length), whole)


def test_a_place_is_weighed_by_each_row_with_each_token() -> None:
    parts, x = real(), torch.full((2, 8), 5)
    x[:, :3] = torch.tensor([[0, 3, 1], [4, 4, 2]])
    prior = torch.rand(2, 1, 6, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    cond = torch.tensor([[1.0, 2.0], [0.0, torch.nan]])
    guidance = Fudge(ClassifierFree(1.0), parts[1], 2, 5, scale=1.5)

    def told(conds: Any) -> list[Tensor]:
        return [prior for c in conds if c(cond) is not None]

    found = guidance(told, x, torch.ones(2))
    for row in range(2):
        total = prior[row, 0].clone()
        for v in range(6):
            start = torch.tensor([[5, *x[row, :3].tolist(), v]])
            log_p = parts[1](start, torch.zeros(1))[0, -1]
            for label in range(2):
                if not cond[row, label].isnan():
                    total[v] += 1.5 * log_p[label, int(cond[row, label])]
        torch.testing.assert_close(found[row, 0], total.log_softmax(-1), rtol=0, atol=1e-5)


def test_the_classifier_reads_a_beginning_once_beside_what_may_follow() -> None:
    parts = real()
    rows = Rows(torch.arange(4), 8, torch.ones(4, 4))
    with count_forwards(parts[1]) as cost:
        draw(rows, parts, length="drawn")
    assert cost.tokens == 4 * sum(1 + place + 5 for place in range(8))
    with count_forwards(parts[1]) as cost:
        draw(rows, parts, top_k=2, length="drawn")
    assert cost.tokens == 4 * sum(1 + place + 2 for place in range(8))


def test_a_row_that_is_whole_does_not_shorten_what_the_others_are_weighed_by() -> None:
    prior = torch.rand(2, 1, 6, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    cond = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    guidance = Fudge(ClassifierFree(1.0), real()[1], 2, 5, scale=1.5)

    def weighed(x: Tensor) -> Tensor:
        return guidance(lambda conds: [prior for c in conds if c(cond) is not None], x, torch.ones(2))

    x = torch.full((2, 4), 5)
    x[:, :2] = torch.tensor([[0, 3], [4, 2]])
    beside = x.clone()
    beside[0] = torch.tensor([0, 3, 1, 1])
    assert torch.equal(weighed(beside)[1], weighed(x)[1])


def test_given_tokens_stay() -> None:
    rows, frozen = both(), torch.zeros(24, 8, dtype=torch.bool)
    frozen[::2, 2:4] = True
    given = Rows(rows.ids, 8, rows.cond, torch.full((24, 8), 3), frozen)
    x = draw(given, real(), scale=2.0)
    assert (x[frozen] == 3).all()
    free = draw(Rows(rows.ids, 8, rows.cond), real(), scale=2.0)
    assert torch.equal(x[1::2], free[1::2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": -1.0}, "guidance scale: got -1.0"),
        ({"scale": math.inf}, "guidance scale: got inf"),
        ({"top_k": 0}, "fudge top-k: got 0"),
    ],
)
def test_what_has_no_meaning_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MoldiffError, match=message):
        Fudge(ClassifierFree(0.0), real()[1], 2, 5, **options)
