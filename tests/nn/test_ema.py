"""The average of weights: its formula, its warm-up, and exact exchange."""

import pytest
import torch
from torch import nn

from moldiff.nn.ema import Ema


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()


def move(net: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(by)


@pytest.mark.parametrize("decay", [0.0, 0.15, 0.9999])
def test_shadow_follows_the_formula_with_its_warm_up(decay: float) -> None:
    net = network()
    ema = Ema(net, decay)
    want = {k: v.detach().clone() for k, v in net.named_parameters()}
    for n in range(5):
        move(net, 0.5 * (n + 1))
        ema.update(net)
        d = min(decay, (1 + n) / (10 + n))
        for name, parameter in net.named_parameters():
            want[name] = d * want[name] + (1 - d) * parameter.detach()
            torch.testing.assert_close(ema.shadow[name], want[name], rtol=1e-12, atol=1e-12)
    assert ema.updates == 5


def test_update_leaves_the_network_alone() -> None:
    net = network()
    ema = Ema(net, 0.9)
    move(net, 1.0)
    before = [p.detach().clone() for p in net.parameters()]
    ema.update(net)
    assert all(p.equal(q) for p, q in zip(net.parameters(), before, strict=True))
    assert not any(v.requires_grad for v in ema.shadow.values())


def test_swap_exchanges_and_a_second_swap_undoes_it_bitwise() -> None:
    net = network()
    ema = Ema(net, 0.9)
    move(net, 0.1)
    ema.update(net)
    weights = {k: v.detach().clone() for k, v in net.named_parameters()}
    shadow = {k: v.clone() for k, v in ema.shadow.items()}
    ema.swap(net)
    for name, parameter in net.named_parameters():
        assert parameter.equal(shadow[name])
        assert ema.shadow[name].equal(weights[name])
        assert parameter.requires_grad
    ema.swap(net)
    for name, parameter in net.named_parameters():
        assert parameter.equal(weights[name])
        assert ema.shadow[name].equal(shadow[name])


def test_state_goes_round_and_continues_bitwise() -> None:
    net = network()
    ema, other = Ema(net, 0.9), Ema(network(), 0.9)
    for by in (0.3, -0.7):
        move(net, by)
        ema.update(net)
    state = ema.state_dict()
    assert all(isinstance(v, torch.Tensor) for v in state.values())
    other.load_state_dict(state)
    assert other.updates == 2
    move(net, 0.2)
    ema.update(net)
    other.update(net)
    assert all(ema.shadow[k].equal(other.shadow[k]) for k in ema.shadow)


def test_moving_to_a_device_keeps_the_values() -> None:
    ema = Ema(network(), 0.9)
    before = {k: v.clone() for k, v in ema.shadow.items()}
    ema.to(torch.device("cpu"))
    assert all(v.equal(before[k]) for k, v in ema.shadow.items())
