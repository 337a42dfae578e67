"""Muon and AdamW as one optimizer: one step, one schedule, one state."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon
from torch.optim.lr_scheduler import LambdaLR

from moldiff.nn.optim import MuonAdamW, matrices_and_others
from moldiff.nn.transformer import Transformer, TransformerConfig


def network() -> Transformer:
    torch.manual_seed(0)
    return Transformer(TransformerConfig(3, 4, 6, width=8, depth=2, heads=2, time=True))


def optimizer_of(net: nn.Module, lr: float = 0.01) -> MuonAdamW:
    return MuonAdamW(*matrices_and_others(net), lr=lr, weight_decay=0.1)


def loss_of(net: nn.Module, step: int) -> Tensor:
    source = torch.Generator().manual_seed(step)
    x = torch.randint(4, (8, 6), generator=source)
    log_p: Tensor = net(x, torch.rand(8, generator=source))
    return -log_p.gather(-1, (x % 3)[..., None]).mean()


def train(net: nn.Module, optimizer: Any, steps: range, schedule: Any = None) -> None:
    for step in steps:
        optimizer.zero_grad()
        loss_of(net, step).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()


def weights(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def test_block_matrices_go_to_muon_and_all_else_to_adamw() -> None:
    net = network()
    matrices, others = matrices_and_others(net)
    ids = [id(p) for p in (*matrices, *others)]
    assert sorted(ids) == sorted(id(p) for p in net.parameters())
    names = {id(p): n for n, p in net.named_parameters()}
    assert len(matrices) == 2 * 5
    assert all(names[id(p)].startswith("blocks.") and p.ndim == 2 for p in matrices)
    assert {"tokens.weight", "edges", "head.weight"} <= {names[id(p)] for p in others}


def test_a_step_is_one_step_of_each_part() -> None:
    net, twin = network(), network()
    optimizer = optimizer_of(net)
    matrices, others = matrices_and_others(twin)
    parts = [
        Muon(matrices, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        AdamW(others, lr=0.01, betas=(0.9, 0.99), weight_decay=0.1),
    ]
    train(net, optimizer, range(3))
    for step in range(3):
        twin.zero_grad()
        loss_of(twin, step).backward()
        for part in parts:
            part.step()
    assert all(a.equal(b) for a, b in zip(weights(net), weights(twin), strict=True))


def test_one_batch_counts_as_one_step() -> None:
    net = network()
    optimizer = optimizer_of(net)
    counted: list[int] = []
    optimizer.register_step_post_hook(lambda *_: counted.append(1))
    train(net, optimizer, range(4))
    assert len(counted) == 4
    adam = optimizer.parts[1]
    assert {int(state["step"]) for state in adam.state.values()} == {4}


def test_a_closure_runs_once_and_with_slopes() -> None:
    net, calls = network(), []
    optimizer = optimizer_of(net)

    def closure() -> float:
        calls.append(1)
        optimizer.zero_grad()
        loss = loss_of(net, 0)
        loss.backward()
        return loss.item()

    before = weights(net)
    with torch.no_grad():
        assert optimizer.step(closure) == pytest.approx(loss_of(network(), 0).item())
    assert len(calls) == 1
    assert any(not a.equal(b) for a, b in zip(weights(net), before, strict=True))


def test_slopes_are_cleared_in_both_parts() -> None:
    net = network()
    optimizer = optimizer_of(net)
    loss_of(net, 0).backward()
    optimizer.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_a_schedule_moves_both_parts() -> None:
    net = network()
    optimizer = optimizer_of(net, lr=0.5)
    schedule = LambdaLR(optimizer, lambda step: 1 / (step + 1))
    train(net, optimizer, range(3), schedule)
    rates = [group["lr"] for part in optimizer.parts for group in part.param_groups]
    assert rates == pytest.approx([0.125, 0.125])
    still = weights(net)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    loss_of(net, 9).backward()
    optimizer.step()
    assert all(a.equal(b) for a, b in zip(weights(net), still, strict=True))


@pytest.mark.parametrize("scheduled", [False, True])
def test_a_saved_state_continues_bitwise(scheduled: bool) -> None:
    def fall(step: int) -> float:
        return 0.9**step

    net = network()
    optimizer = optimizer_of(net)
    schedule = LambdaLR(optimizer, fall) if scheduled else None
    train(net, optimizer, range(3), schedule)
    saved = io.BytesIO()
    held = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(held | {"schedule": schedule.state_dict() if schedule else {}}, saved)
    train(net, optimizer, range(3, 6), schedule)

    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    other = network()
    other.load_state_dict(state["net"])
    second = optimizer_of(other)
    again = LambdaLR(second, fall) if scheduled else None
    second.load_state_dict(copy.deepcopy(state["optimizer"]))
    if again is not None:
        again.load_state_dict(state["schedule"])
    train(other, second, range(3, 6), again)
    assert all(a.equal(b) for a, b in zip(weights(net), weights(other), strict=True))
