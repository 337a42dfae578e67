"""Counting forwards: calls, rows and tokens, and no trace once the block is left."""

import pytest
import torch
from torch import Tensor, nn

from moldiff.nn.cost import count_forwards


class Echo(nn.Module):
    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        if len(x_t) == 0:
            raise RuntimeError("nothing to do")
        return x_t


def test_calls_rows_and_tokens_are_counted() -> None:
    net = Echo()
    net(torch.zeros(9, 9), torch.ones(9))
    with count_forwards(net) as cost:
        assert (cost.calls, cost.rows, cost.tokens) == (0, 0, 0)
        net(torch.zeros(2, 5), torch.ones(2))
        net(torch.zeros(3, 7), torch.ones(3), None)
    net(torch.zeros(9, 9), torch.ones(9))
    assert (cost.calls, cost.rows, cost.tokens) == (2, 5, 31)


def test_the_hook_is_gone_after_an_exception() -> None:
    net, kept = Echo(), []

    def fail() -> None:
        with count_forwards(net) as cost:
            kept.append(cost)
            net(torch.zeros(1, 2), torch.ones(1))
            net(torch.zeros(0, 2), torch.ones(0))

    with pytest.raises(RuntimeError, match="nothing"):
        fail()
    net(torch.zeros(1, 2), torch.ones(1))
    assert (kept[0].calls, kept[0].rows, kept[0].tokens) == (1, 1, 2)
    assert not net._forward_hooks


def test_counts_nest() -> None:
    net, x = Echo(), (torch.zeros(2, 3), torch.ones(2))
    with count_forwards(net) as outer:
        net(*x)
        with count_forwards(net) as inner:
            net(*x)
    assert (outer.calls, inner.calls) == (2, 1)
