"""The noisy classifier: what it reads, what it answers, and what it does not look at."""

import pytest
import torch
from torch import Tensor

from moldiff.diffusion.categorical import one_hot
from moldiff.errors import MoldiffError
from moldiff.nn.classifier import SPREADS, Classifier
from moldiff.nn.cost import count_forwards
from moldiff.nn.embedding import ConditionSlot
from moldiff.nn.transformer import TransformerConfig

STATES, LENGTH = 6, 7


def network(*classes: int, time: bool = False, causal: bool = False) -> Classifier:
    """A random classifier with a head that is not zero."""
    slots = tuple(ConditionSlot(each) for each in classes or (2, 2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Classifier(
            TransformerConfig(5, STATES, 9, width=16, depth=2, heads=2, slots=slots, time=time, causal=causal)
        )
        for parameter in net.parameters():
            if parameter.ndim > 1 and not parameter.any():
                torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def rows(count: int = 5) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    return torch.randint(STATES, (count, LENGTH), generator=source), torch.rand(count, generator=source)


@pytest.mark.parametrize("time", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_states_and_their_indicators_get_the_same_answer(time: bool, causal: bool) -> None:
    net, (x, t) = network(time=time, causal=causal), rows()
    read = net(x, t)
    assert read.shape == ((5, LENGTH, 2, 2) if causal else (5, 2, 2))
    assert not torch.allclose(read[0], read[1], atol=1e-3)
    torch.testing.assert_close(net(one_hot(x, STATES), t), read, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(net(one_hot(x, STATES, torch.float64), t), read, rtol=1e-5, atol=1e-5)


def test_it_can_be_differentiated_by_the_weights_over_states() -> None:
    net, (x, t) = network(time=True), rows()
    weights = one_hot(x, STATES).requires_grad_()
    (slope,) = torch.autograd.grad(net(weights, t)[:, 0, 1].sum(), weights)
    # A step towards another state, small enough to be linear, is foretold.
    change = torch.zeros_like(weights)
    change[:, 2] = 1e-3 * (one_hot((x[:, 2] + 1) % STATES, STATES) - one_hot(x[:, 2], STATES))
    found = net(weights + change, t)[:, 0, 1] - net(weights, t)[:, 0, 1]
    torch.testing.assert_close(found, (slope * change).sum((1, 2)), rtol=0.05, atol=1e-6)


def test_the_time_is_looked_at_only_where_it_was_asked_for() -> None:
    x, t = rows()
    assert network()(x, t).equal(network()(x, 1 - t))
    timed = network(time=True)
    assert not torch.allclose(timed(x, t), timed(x, 1 - t), atol=1e-4)


def test_each_label_has_its_own_law_and_short_ones_are_filled_with_the_impossible() -> None:
    net, (x, t) = network(2, 3), rows()
    answer = net(x, t)
    assert answer.shape == (5, 2, 3)
    assert answer[:, 0, 2].isneginf().all()
    torch.testing.assert_close(answer.exp().sum(-1), torch.ones(5, 2))


def test_a_number_is_answered_by_a_mean_and_a_bounded_spread() -> None:
    net, (x, t) = network(0, 3, 0), rows()
    answer = net(x, t)
    assert answer.shape == (5, 3, 3)
    assert not answer[:, [0, 2], 2].any()
    torch.testing.assert_close(answer[:, 1].exp().sum(-1), torch.ones(5))
    with torch.no_grad():
        net.head.bias.fill_(100.0)
    assert net(x, t)[:, [0, 2], 1].eq(SPREADS[1]).all()
    assert net(x, t)[:, [0, 2], 0].gt(SPREADS[1]).all()
    # Numbers alone need no room for classes.
    assert network(0)(x, t).shape == (5, 1, 2)


def test_numbers_are_answered_at_every_prefix_and_at_what_may_follow() -> None:
    net, (x, t) = network(0, 2, causal=True), rows()
    paths = net(x, t, 4)
    for place in range(4, LENGTH):
        row = torch.cat([x[:, :4], x[:, place : place + 1]], 1)
        torch.testing.assert_close(paths[:, place], net(row, t)[:, 4], rtol=1e-4, atol=1e-5)


def test_a_causal_one_answers_from_the_prefix_alone_whatever_follows() -> None:
    net, (x, t) = network(causal=True), rows()
    whole, part = net(x, t), net(x[:, :4], t)
    torch.testing.assert_close(whole[:, :4], part, rtol=1e-5, atol=1e-6)
    other = x.clone()
    other[:, 4] = (x[:, 4] + 1) % STATES
    changed = (net(other, t) - whole).abs().amax((2, 3)) > 1e-5
    assert not changed[:, :4].any()
    assert changed[:, 4:].all()


def test_one_that_is_not_causal_looks_at_every_position() -> None:
    net, (x, t) = network(), rows(1)
    for place in range(LENGTH):
        other = x.clone()
        other[:, place] = (x[:, place] + 1) % STATES
        assert not torch.allclose(net(other, t), net(x, t), atol=1e-6)


def test_answers_are_float32_under_autocast() -> None:
    net, (x, t) = network(), rows()
    with torch.autocast("cpu", torch.bfloat16):
        answer = net(x, t)
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, net(x, t), rtol=0.05, atol=0.05)


def test_forwards_over_states_and_over_weights_cost_the_same() -> None:
    net, (x, t) = network(), rows()
    with count_forwards(net) as cost:
        with torch.no_grad():
            net(x, t)
        assert (cost.calls, cost.rows, cost.tokens, cost.gradients) == (1, 5, 5 * LENGTH, 0)
        net(one_hot(x, STATES).requires_grad_(), t)
    assert (cost.calls, cost.rows, cost.tokens, cost.gradients) == (2, 10, 10 * LENGTH, 5)


def test_what_it_cannot_answer_or_read_is_refused() -> None:
    for classes in ((1,), (2, 1)):
        with pytest.raises(MoldiffError, match="classes of a classifier: got"):
            network(*classes)
    with pytest.raises(MoldiffError, match="classes of a classifier"):
        Classifier(TransformerConfig(5, STATES, 9, width=16, depth=1, heads=2))
    with pytest.raises(MoldiffError, match="row length: got 10, the classifier takes at most 9"):
        network()(torch.zeros(1, 10, dtype=torch.int64), torch.zeros(1))
