"""Growing a network: what it knew it still says, exactly, and what is new takes little."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moldiff.nn.classifier import Classifier
from moldiff.nn.embedding import ConditionSlot
from moldiff.nn.growth import borrow, grow
from moldiff.nn.transformer import Transformer, TransformerConfig

CLASS, NUMBER = ConditionSlot(classes=2), ConditionSlot()
#: Three tokens and padding are predicted, the mask is read too; two tokens come between tokens and padding.
KNOWN, NEW = 3, 2
PLACE = torch.tensor([0, 1, 2, 5, 6])


def random(tokens: int, places: int, **options: Any) -> Transformer:
    """A small network whose every weight is random: fresh heads and gates are zero."""
    torch.manual_seed(0)
    net = Transformer(TransformerConfig(tokens, tokens + 1, places, width=8, depth=2, heads=2, **options))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.4)
    return net.eval()


def grown(
    old: Transformer, slots: dict[ConditionSlot, int | None], places: int = 3, depth: int = 2
) -> Transformer:
    """A network with two more tokens, and given slots, each with its number in the old one."""
    torch.manual_seed(1)
    size = TransformerConfig(
        6, 7, places, width=8, depth=depth, heads=2, slots=tuple(slots), time=old.time is not None
    )
    net = Transformer(size).eval()
    grow(net, old.state_dict(), KNOWN, list(slots.values()))
    return net


def states() -> Tensor:
    """Every row of three that the old network can read."""
    return torch.tensor(list(product(range(KNOWN + 2), repeat=3)))


def share(old: Tensor, new: Tensor) -> Tensor:
    """What the new tokens take from the old ones' log-probabilities, (B, L), where it is the same for all."""
    taken = old - new[..., PLACE[: KNOWN + 1]]
    torch.testing.assert_close(taken, taken[..., :1].expand_as(taken), rtol=0, atol=2e-5)
    return taken[..., 0]


@pytest.mark.parametrize("time", [False, True])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((), {}),
        ((), {NUMBER: None}),
        ((CLASS, NUMBER), {CLASS: 0, NUMBER: 1}),
        ((CLASS, NUMBER), {NUMBER: 1, CLASS: 0}),
        ((CLASS, NUMBER), {NUMBER: 1}),
        ((CLASS, NUMBER), {}),
        ((NUMBER,), {CLASS: None, NUMBER: 0}),
    ],
    ids=str,
)
def test_known_tokens_keep_their_odds(
    before: tuple[ConditionSlot, ...], after: dict[ConditionSlot, int | None], time: bool
) -> None:
    old = random(KNOWN + 1, 3, slots=before, time=time)
    new = grown(old, after)
    x = states()
    t = torch.linspace(0.1, 1, len(x))
    taken = share(old(x, t), new(PLACE[x], t))
    assert taken.min() > 0
    assert taken.max() <= math.log(1 + NEW / KNOWN) + 1e-5
    # Told a condition that both know, too.
    values = torch.tensor([1.0, 0.0, math.nan]).repeat(len(x))[: len(x)]
    for place, (slot, number) in enumerate(after.items()):
        if number is not None:
            told = [torch.full((len(x), len(slots)), math.nan) for slots in (before, after)]
            told[0][:, before.index(slot)] = told[1][:, place] = values
            share(old(x, t, told[0]), new(PLACE[x], t, told[1]))


def test_a_condition_that_is_new_makes_no_difference_until_it_is_told() -> None:
    old = random(KNOWN + 1, 3)
    new = grown(old, {CLASS: None})
    x = states()[:5]
    untold = new(PLACE[x], torch.ones(5))
    assert not torch.equal(new(PLACE[x], torch.ones(5), torch.ones(5, 1)), untold)
    share(old(x, torch.ones(5)), untold)


def test_shorter_rows_in_a_network_for_longer_ones_are_as_before() -> None:
    old = random(KNOWN + 1, 3)
    new = grown(old, {}, places=7)
    x = states()
    share(old(x, torch.ones(len(x))), new(PLACE[x], torch.ones(len(x))))
    torch.testing.assert_close(new.edges[:, :3], old.edges)
    # Places 1 and 2 of 0, 1, 2 are the farther half.
    torch.testing.assert_close(new.edges[:, 3:], old.edges[:, 1:].mean(1, keepdim=True).expand(-1, 4, -1))
    assert new(torch.zeros(2, 7, dtype=torch.long), torch.ones(2)).isfinite().all()


@pytest.mark.parametrize("time", [False, True])
def test_a_deeper_network_is_the_same_until_its_new_blocks_learn(time: bool) -> None:
    old = random(KNOWN + 1, 3, slots=(NUMBER,), time=time)
    new = grown(old, {NUMBER: 0}, depth=4)
    x, t = states(), torch.linspace(0.1, 1, len(states()))
    told = torch.linspace(-1, 1, len(x))[:, None]
    taken = share(old(x, t, told), new(PLACE[x], t, told))
    new(PLACE[x], t, told)[:, 0, 0].sum().backward()
    for block in new.blocks[2:]:
        for layer in (block.out, block.down):
            assert layer.weight.grad.abs().max() > 0
    nn.init.normal_(new.blocks[3].out.weight)
    assert not torch.allclose(old(x, t, told)[..., 0] - new(PLACE[x], t, told)[..., 0], taken)


def test_new_tokens_are_read_as_the_mean_of_the_known_and_told_apart() -> None:
    old = random(KNOWN + 1, 3)
    new = grown(old, {})
    table = new.tokens.weight
    torch.testing.assert_close(table[PLACE], old.tokens.weight)
    for row in (3, 4):
        assert 0 < (table[row] - old.tokens.weight[:KNOWN].mean(0)).abs().max() < 0.1
    assert not torch.equal(table[3], table[4])
    torch.testing.assert_close(new.head.weight[3], old.head.weight[:KNOWN].mean(0))


def test_nothing_new_is_the_same_network() -> None:
    old = random(KNOWN + 1, 3, slots=(CLASS,))
    new = Transformer(old.config)
    grow(new, old.state_dict(), KNOWN, [0])
    assert all(torch.equal(weights, old.state_dict()[name]) for name, weights in new.state_dict().items())


@pytest.mark.parametrize(("time", "slots"), [(False, ()), (False, (CLASS, NUMBER)), (True, (NUMBER,))])
def test_a_classifier_with_all_blocks_of_a_denoiser_sees_what_that_sees(
    time: bool, slots: tuple[ConditionSlot, ...]
) -> None:
    old = random(KNOWN, 3, time=time, slots=slots)
    size = TransformerConfig(
        KNOWN, KNOWN + 1, 5, width=8, depth=2, heads=2, slots=(ConditionSlot(KNOWN),), time=time
    )
    new = Classifier(size).eval()
    borrow(new, old.state_dict())
    new.head.load_state_dict({"weight": old.head.weight, "bias": old.head.bias})
    x, t = torch.tensor(list(product(range(KNOWN + 1), repeat=3))), torch.full((64,), 0.3)
    seen = []
    hook = old.head.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    old(x, t)
    hook.remove()
    want = old.head(seen[0].mean(1)).log_softmax(-1)
    torch.testing.assert_close(new(x, t)[:, 0], want, rtol=1e-4, atol=1e-5)
