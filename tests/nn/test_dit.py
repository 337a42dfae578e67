"""The published network: its arrays, its normalised output, what it is told, and what it can see."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moldiff.errors import MoldiffError
from moldiff.nn.cost import count_forwards
from moldiff.nn.dit import DiT, DiTConfig

SMALL: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "signal": 6}


def network(**options: Any) -> DiT:
    """A small network whose every weight is random, and that was told so."""
    torch.manual_seed(0)
    net = DiT(DiTConfig(5, 12, **{**SMALL, **options}))
    net.load_state_dict({name: 0.3 * torch.randn(each.shape) for name, each in net.state_dict().items()})
    return net.eval()


def rows(count: int = 4, length: int = 8) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    return torch.randint(6, (count, length), generator=source), torch.rand(count, generator=source)


def test_the_published_size_has_the_published_arrays() -> None:
    with torch.device("meta"):
        net = DiT(DiTConfig(50257, 1024))
    found = {name: tuple(each.shape) for name, each in net.state_dict().items()}
    expected: dict[str, tuple[int, ...]] = {
        "vocab_embed.embedding": (50258, 768),
        "sigma_map.mlp.0.weight": (128, 256),
        "sigma_map.mlp.0.bias": (128,),
        "sigma_map.mlp.2.weight": (128, 128),
        "sigma_map.mlp.2.bias": (128,),
        "output_layer.norm_final.weight": (768,),
        "output_layer.linear.weight": (50258, 768),
        "output_layer.linear.bias": (50258,),
        "output_layer.adaLN_modulation.weight": (1536, 128),
        "output_layer.adaLN_modulation.bias": (1536,),
    }
    block = {
        "norm1.weight": (768,),
        "attn_qkv.weight": (2304, 768),
        "attn_out.weight": (768, 768),
        "norm2.weight": (768,),
        "mlp.0.weight": (3072, 768),
        "mlp.0.bias": (3072,),
        "mlp.2.weight": (768, 3072),
        "mlp.2.bias": (768,),
        "adaLN_modulation.weight": (4608, 128),
        "adaLN_modulation.bias": (4608,),
    }
    for number in range(12):
        expected |= {f"blocks.{number}.{name}": shape for name, shape in block.items()}
    assert found == expected
    # With the rotary frequencies, which are a buffer there and a formula here, the 131 that are published.
    assert len(found) == 130
    assert sum(each.numel() for each in net.parameters()) == 169_627_218


@pytest.mark.parametrize("time", [False, True])
def test_output_is_normalised_in_single_precision_whatever_it_runs_in(time: bool) -> None:
    net = network(time=time)
    x, t = rows()
    exact = net(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        close = net(x, t)
    for out in (exact, close):
        assert out.shape == (4, 8, 5)
        assert out.dtype == torch.float32
        torch.testing.assert_close(out.exp().sum(-1), torch.ones(4, 8), rtol=0, atol=1e-6)
    assert (close.exp() - exact.exp()).abs().max() < 0.05
    assert not close.equal(exact)


def test_what_is_told_once_is_what_the_layers_say_of_no_noise() -> None:
    """At t = 0 the network that is told t is the one that is not; elsewhere it is another."""
    fixed, timed = network(), network(time=True)
    x, t = rows()
    torch.testing.assert_close(timed(x, torch.zeros(4)), fixed(x, t), rtol=0, atol=1e-6)
    assert fixed(x, torch.zeros(4)).equal(fixed(x, t))
    assert (timed(x, t) - fixed(x, t)).abs().max() > 1e-3


def test_rows_are_told_their_own_times_and_do_not_depend_on_their_company() -> None:
    for net in (network(), network(time=True)):
        x, t = rows()
        whole = net(x, t)
        for i in range(4):
            torch.testing.assert_close(net(x[i : i + 1], t[i : i + 1])[0], whole[i], rtol=1e-4, atol=1e-5)


def test_other_weights_are_told_other_things() -> None:
    net, x, t = network(), *rows()
    before = net(x, t)
    weights = net.state_dict()
    weights["sigma_map.mlp.2.bias"] = weights["sigma_map.mlp.2.bias"] + 1
    net.load_state_dict(weights)
    assert (net(x, t) - before).abs().max() > 1e-3


@pytest.mark.parametrize("time", [False, True])
def test_weights_may_be_put_in_place_of_none(time: bool) -> None:
    """A network without weights takes those of another as they are, and computes the same."""
    whole, (x, t) = network(time=time), rows()
    with torch.device("meta"):
        empty = DiT(DiTConfig(5, 12, time=time, **SMALL))
    empty.load_state_dict(whole.state_dict(), assign=True)
    assert empty(x, t).equal(whole(x, t))
    assert {each.device.type for each in (*empty.parameters(), *empty.buffers())} == {"cpu"}
    assert not any(each.requires_grad for each in empty.parameters())


def test_every_position_sees_every_other_and_where_it_is() -> None:
    net = network()
    x, t = rows()
    before = net(x, t)
    changed = x.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 6
    assert (net(changed, t)[:, 0] != before[:, 0]).any(-1).all()
    # Positions are relative: of equal tokens, each sees the same tokens, but not where.
    swapped = x[:, [1, 0, *range(2, 8)]]
    assert (net(swapped, t)[:, 7] - before[:, 7]).abs().max() > 1e-4


def test_the_mask_is_read_and_never_predicted() -> None:
    net, (x, t) = network(), rows()
    weights: dict[str, Tensor] = net.state_dict()
    before = net(torch.full_like(x, 5), t)
    weights["output_layer.linear.bias"] = weights["output_layer.linear.bias"].clone()
    weights["output_layer.linear.bias"][5] = 1e6
    net.load_state_dict(weights)
    assert net(torch.full_like(x, 5), t).equal(before)


def test_forwards_are_counted_and_lengths_are_checked() -> None:
    net, (x, t) = network(), rows()
    with count_forwards(net) as cost:
        net(x, t)
    assert (cost.rows, cost.tokens) == (4, 32)
    assert net.max_length == 12
    assert net(x[:, :1], t).shape == (4, 1, 5)
    with pytest.raises(MoldiffError, match="row length: got 13, the network takes at most 12"):
        net(torch.zeros(1, 13, dtype=torch.int64), t[:1])


@pytest.mark.parametrize(
    ("options", "message"), [({"width": 10}, "multiple of 2"), ({"depth": 0}, "at least")]
)
def test_sizes_that_make_no_network_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(MoldiffError, match=message):
        DiTConfig(5, 12, **{**SMALL, **options})


def test_it_is_a_module_without_arrays_that_are_not_published() -> None:
    net = network()
    assert isinstance(net, nn.Module)
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}
