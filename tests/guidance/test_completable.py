"""The restriction to rows that can still be completed, against enumeration."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.corrector import Corrector
from moldiff.diffusion.process import Masked
from moldiff.diffusion.sampler import FirstHittingSampler, Sampler
from moldiff.diffusion.walk import Unguided, given
from moldiff.guidance.classifier_free import ClassifierFree
from moldiff.guidance.completable import Completable
from moldiff.guidance.fillings import Fillings
from moldiff.types import Balance, Condition, Rows

# Tokens: 0 and 1 are labels, 2 opens, 3 closes, 4 is free; 5 is the mask.
LABELS, BRACKETS = Balance(even=(0, 1)), Balance(pairs=((2, 3),))
BALANCE = Balance(even=(0, 1), pairs=((2, 3),))
# A label never follows an opening or itself, and begins nothing; a free token ends nothing.
GRAMMAR = Balance(
    even=(0, 1),
    pairs=((2, 3),),
    apart=((2, 0), (2, 1), (0, 0), (1, 1)),
    never_first=(0, 1),
    never_last=(4,),
)
LOOSE = replace(GRAMMAR, even=(), apart=((2, 0), (2, 1)))
TOKENS, MASK = 5, 5
LENGTH = 4


def well_formed(row: Sequence[int], balance: Balance) -> bool:
    depths = list(itertools.accumulate((token == 2) - (token == 3) for token in row))
    return (
        all(row.count(label) % 2 == 0 for label in balance.even)
        and (not balance.pairs or (min(depths) >= 0 and depths[-1] == 0))
        and not any(pair in balance.apart for pair in itertools.pairwise(row))
        and row[0] not in balance.never_first
        and row[-1] not in balance.never_last
    )


def completable(row: Sequence[int], balance: Balance) -> bool:
    """Whether some filling of the masks is well-formed, by trying all."""
    masks = [i for i, token in enumerate(row) if token == MASK]
    for filling in itertools.product(range(TOKENS), repeat=len(masks)):
        filled = list(row)
        for place, token in zip(masks, filling, strict=True):
            filled[place] = token
        if well_formed(filled, balance):
            return True
    return False


def flat(conds: Sequence[Condition], x_t: Tensor) -> list[Tensor]:
    return [torch.full((*x_t.shape, TOKENS), 1 / TOKENS).log() for _ in conds]


def verdicts(balance: Balance) -> list[tuple[bool, bool]]:
    """For every row of 4 that can be completed and every token for its first mask: can it then, may it."""
    rows = list(itertools.product(range(TOKENS + 1), repeat=LENGTH))
    rows = [row for row in rows if MASK in row and completable(row, balance)]
    x_t = torch.tensor(rows)
    guided = Completable(Unguided(), MASK, balance)(
        lambda conds: flat(conds, x_t), x_t, torch.ones(len(rows))
    )
    assert torch.allclose(guided.exp().sum(-1), torch.ones(()))
    found = []
    for row, log_p in zip(rows, guided, strict=True):
        place = row.index(MASK)
        for token in range(TOKENS):
            after = (*row[:place], token, *row[place + 1 :])
            found.append((completable(after, balance), bool(log_p[place, token].isfinite())))
    return found


@pytest.mark.parametrize("balance", [LABELS, BRACKETS], ids=["labels", "brackets"])
def test_exactly_the_tokens_after_which_no_filling_is_well_formed_are_forbidden(balance: Balance) -> None:
    found = verdicts(balance)
    assert all(can == may for can, may in found)
    assert len({can for can, _ in found}) == 2


@pytest.mark.parametrize("balance", [BALANCE, GRAMMAR], ids=["both", "neighbours"])
def test_together_the_rules_forbid_nothing_that_can_be_completed(balance: Balance) -> None:
    found = verdicts(balance)
    assert all(may for can, may in found if can)
    # Missed is only what hangs on which label it is.
    caught = sum(not may for can, may in found if not can) / sum(not can for can, _ in found)
    assert caught > 0.9


def test_with_one_label_together_the_rules_are_exact() -> None:
    """A grammar in which brackets, neighbours and the label contend for places."""
    balance = Balance(
        even=(0,), pairs=((2, 3),), apart=((2, 0), (2, 3), (1, 2), (1, 3)), never_first=(0,), never_last=(1,)
    )
    found = verdicts(balance)
    assert all(can == may for can, may in found)


@pytest.mark.parametrize("length", [1, 2, 5, 6])
def test_the_most_labels_of_any_filling(length: int) -> None:
    fillings = Fillings(GRAMMAR, TOKENS, (2, 3))
    rows = torch.randint(TOKENS + 1, (40, length), generator=torch.Generator().manual_seed(length))
    rows[rows < 2] = MASK
    found = fillings.most(rows)
    for row, most in zip(rows.tolist(), found, strict=True):
        masks = [place for place, token in enumerate(row) if token == MASK]
        for place, token in itertools.product(masks, range(TOKENS)):
            others = [each for each in masks if each != place]
            best = -1
            for filling in itertools.product(range(TOKENS), repeat=len(others)):
                filled = {**dict(enumerate(row)), **dict(zip(others, filling, strict=True)), place: token}
                # Which label it is does not count here: parity and a label after itself are left out.
                if well_formed([filled[i] for i in range(length)], LOOSE):
                    best = max(best, sum(each < 2 for each in filling))
            assert max(-1, int(most[place, token])) == best, (row, place, token)


def test_a_row_past_saving_keeps_to_the_rules_that_leave_a_choice() -> None:
    # Two branches and a label are open: no token saves the row, and one that closes breaks no more.
    x_t = torch.tensor([[0, 2, 2, MASK]])
    guided = Completable(Unguided(), MASK, BALANCE)(lambda conds: flat(conds, x_t), x_t, torch.ones(1))
    assert guided[0, 3].exp().tolist() == pytest.approx([0, 0, 0, 1, 0])


def test_a_label_that_has_to_close_keeps_a_place_where_it_may() -> None:
    # Places 0 and 2 are barred to labels, so place 3 must not go to another token.
    x_t = torch.tensor([[MASK, 2, MASK, MASK, 4, 0, 3]])
    grammar = Balance(even=(0,), pairs=((2, 3),), apart=((2, 0), (0, 0)), never_first=(0,))
    guided = Completable(Unguided(), MASK, grammar)(lambda conds: flat(conds, x_t), x_t, torch.ones(1))
    assert guided[0, 3].isfinite().tolist() == [True, False, False, False, False]
    assert guided[0, 0].isfinite().sum() > 1


def test_neighbours_give_way_where_only_they_forbid_what_has_to_come() -> None:
    # The last label has to close, and would have to follow itself.
    x_t = torch.tensor([[4, 0, MASK]])
    guided = Completable(Unguided(), MASK, GRAMMAR)(lambda conds: flat(conds, x_t), x_t, torch.ones(1))
    assert guided[0, 2].exp().tolist() == pytest.approx([1, 0, 0, 0, 0])


def test_of_what_is_there_the_rules_say_nothing() -> None:
    x_t = torch.tensor([[4, 2, MASK, 3, MASK], [4, 0, 4, 0, 4]])
    guided = Completable(Unguided(), MASK, GRAMMAR)(lambda conds: flat(conds, x_t), x_t, torch.ones(2))
    there = x_t != MASK
    torch.testing.assert_close(guided[there], flat([given], x_t)[0][there])
    assert not guided[~there].isfinite().all()


def test_a_corrector_rewrites_under_the_rules_as_without_them() -> None:
    """A network that says the free token nearly always: corrections do not turn it into brackets."""

    def denoiser(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        law = torch.full((*x_t.shape, TOKENS), 0.001)
        law[..., 4] = 1 - 0.001 * (TOKENS - 1)
        return law.log()

    sampler = Sampler(Masked(TOKENS), 8, corrector=Corrector(every=1, corrections=1))
    drawn = sampler(denoiser, Rows(torch.arange(20), 6), Completable(Unguided(), MASK, BALANCE), seed=0)
    assert torch.equal(drawn, torch.full((20, 6), 4))


def test_without_pairs_it_is_the_inner_guidance() -> None:
    x_t = torch.tensor([[MASK, 1, MASK]])
    seen = torch.randn(2, 1, 3, TOKENS, generator=torch.Generator().manual_seed(0)).log_softmax(-1)

    def ask(conds: Sequence[Condition]) -> list[Tensor]:
        return list(seen[: len(conds)])

    inner = ClassifierFree(2.0)
    guided = Completable(inner, MASK, Balance())(ask, x_t, torch.ones(1))
    torch.testing.assert_close(guided, inner(ask, x_t, torch.ones(1)))


@pytest.mark.parametrize("length", [1, 4, 5])
@pytest.mark.parametrize("balance", [LABELS, BRACKETS], ids=["labels", "brackets"])
def test_first_hitting_draws_well_formed_rows_only(balance: Balance, length: int) -> None:
    def denoiser(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        assert given(cond) is None
        return flat([given], x_t)[0]

    rows = Rows(torch.arange(400), length)
    drawn = FirstHittingSampler(Masked(TOKENS))(
        denoiser, rows, Completable(Unguided(), MASK, balance), seed=1
    )
    assert all(well_formed(row, balance) for row in drawn.tolist())
    assert len(torch.unique(drawn, dim=0)) >= (1 if length == 1 else 20)
