"""The restriction to rows that can still be completed, against enumeration."""

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.process import Masked
from moldiff.diffusion.sampler import FirstHittingSampler
from moldiff.diffusion.walk import Unguided, given
from moldiff.guidance.classifier_free import ClassifierFree
from moldiff.guidance.completable import Completable
from moldiff.types import Balance, Condition, Rows

# Tokens: 0 and 1 are labels, 2 opens, 3 closes, 4 is free; 5 is the mask.
BALANCE = Balance(even=(0, 1), pairs=((2, 3),))
TOKENS, MASK = 5, 5
LENGTH = 4


def balanced(row: Sequence[int]) -> bool:
    return row.count(0) % 2 == row.count(1) % 2 == 0 and row.count(2) == row.count(3)


def completable(row: Sequence[int]) -> bool:
    """Whether some filling of the masks is balanced, by trying all."""
    masks = [i for i, token in enumerate(row) if token == MASK]
    for filling in itertools.product(range(TOKENS), repeat=len(masks)):
        filled = list(row)
        for place, token in zip(masks, filling, strict=True):
            filled[place] = token
        if balanced(filled):
            return True
    return False


def flat(conds: Sequence[Condition], x_t: Tensor) -> list[Tensor]:
    return [torch.full((*x_t.shape, TOKENS), 1 / TOKENS).log() for _ in conds]


def test_exactly_the_tokens_after_which_no_filling_is_balanced_are_forbidden() -> None:
    rows = list(itertools.product(range(TOKENS + 1), repeat=LENGTH))
    rows = [row for row in rows if MASK in row and completable(row)]
    x_t = torch.tensor(rows)
    guided = Completable(Unguided(), MASK, BALANCE)(
        lambda conds: flat(conds, x_t), x_t, torch.ones(len(rows))
    )
    assert torch.allclose(guided.exp().sum(-1), torch.ones(()))
    for row, log_p in zip(rows, guided, strict=True):
        place = row.index(MASK)
        for token in range(TOKENS):
            after = (*row[:place], token, *row[place + 1 :])
            assert completable(after) == bool(log_p[place, token].isfinite()), (row, token)


def test_a_row_past_saving_keeps_its_prediction() -> None:
    x_t = torch.tensor([[0, 2, 2, MASK]])
    guided = Completable(Unguided(), MASK, BALANCE)(lambda conds: flat(conds, x_t), x_t, torch.ones(1))
    assert torch.allclose(guided.exp(), torch.full((1, LENGTH, TOKENS), 1 / TOKENS))


def test_without_pairs_it_is_the_inner_guidance() -> None:
    x_t = torch.tensor([[MASK, 1, MASK]])
    seen = torch.randn(2, 1, 3, TOKENS, generator=torch.Generator().manual_seed(0)).log_softmax(-1)

    def ask(conds: Sequence[Condition]) -> list[Tensor]:
        return list(seen[: len(conds)])

    inner = ClassifierFree(2.0)
    guided = Completable(inner, MASK, Balance())(ask, x_t, torch.ones(1))
    torch.testing.assert_close(guided, inner(ask, x_t, torch.ones(1)))


@pytest.mark.parametrize("length", [1, 4, 5])
def test_first_hitting_draws_balanced_rows_only(length: int) -> None:
    def denoiser(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        assert given(cond) is None
        return flat([given], x_t)[0]

    rows = Rows(torch.arange(400), length)
    drawn = FirstHittingSampler(Masked(TOKENS))(
        denoiser, rows, Completable(Unguided(), MASK, BALANCE), seed=1
    )
    assert all(balanced(row) for row in drawn.tolist())
    assert len(torch.unique(drawn, dim=0)) >= (1 if length == 1 else 20)
