"""Reading rows piece by piece: the same log-probabilities as reading them at once, each token read once."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moldiff.errors import MoldiffError
from moldiff.nn.cost import count_forwards
from moldiff.nn.embedding import ConditionSlot
from moldiff.nn.transformer import Transformer, TransformerConfig

SLOTS = (ConditionSlot(classes=2), ConditionSlot())
VARIANTS: list[dict[str, Any]] = [{}, {"time": True}, {"slots": SLOTS}, {"slots": SLOTS, "time": True}]


def network(**options: Any) -> Transformer:
    torch.manual_seed(0)
    net = Transformer(TransformerConfig(6, 6, 12, width=16, depth=3, heads=2, causal=True, **options))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


def asked(options: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor | None]:
    source = torch.Generator().manual_seed(1)
    cond = torch.tensor([[1.0, 0.3], [0.0, torch.nan], [torch.nan, -1.0], [torch.nan] * 2])
    return torch.randint(6, (4, 12), generator=source), torch.zeros(4), cond if "slots" in options else None


@pytest.mark.parametrize("pieces", [[1] * 12, [5, 1, 1, 5], [12], [3, 9]], ids=str)
@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_rows_read_in_pieces_give_what_rows_read_at_once_give(
    options: dict[str, Any], pieces: list[int]
) -> None:
    net = network(**options)
    x, t, cond = asked(options)
    cache = net.new_cache()
    with torch.no_grad():
        parts = [net(part, t, cond, cache) for part in x.split(pieces, 1)]
        whole = net(x, t, cond)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-4)
    assert cache.length == 12
    # The rows differ enough for a wrong place or a wrong row to be seen.
    assert (whole[:, 1:] - whole[:, :-1]).abs().amax(-1).min() > 0.01


def test_rows_that_are_kept_go_on_as_if_the_others_had_never_been_there() -> None:
    net, index = network(slots=SLOTS), torch.tensor([3, 1])
    x, t, cond = asked({"slots": SLOTS})
    assert cond is not None
    cache = net.new_cache()
    cache.select(torch.arange(4))
    with torch.no_grad():
        net(x[:, :7], t, cond, cache)
        cache.select(index)
        found = net(x[index, 7:], t[index], cond[index], cache)
        torch.testing.assert_close(found, net(x[index], t[index], cond[index])[:, 7:], rtol=0, atol=1e-4)


def test_each_token_counts_once() -> None:
    net = network()
    x, t, _ = asked({})
    cache = net.new_cache()
    with torch.no_grad(), count_forwards(net) as cost:
        for part in x.split(4, 1):
            net(part, t, None, cache)
    assert (cost.calls, cost.rows, cost.tokens) == (3, 12, 48)


def test_a_row_longer_than_the_network_takes_is_refused_in_pieces_too() -> None:
    net = network()
    x, t, _ = asked({})
    cache = net.new_cache()
    net(x, t, None, cache)
    with pytest.raises(MoldiffError, match="row length: got 13, the network takes at most 12"):
        net(x[:, :1], t, None, cache)


def test_a_network_that_sees_both_ways_has_no_cache() -> None:
    with pytest.raises(MoldiffError, match="sees both ways"):
        Transformer(TransformerConfig(5, 6, 12, width=16, depth=1, heads=2)).new_cache()
