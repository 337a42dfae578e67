"""The denoising transformer: normalised output, what it can see, and what it can tell apart."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from moldiff.errors import MoldiffError
from moldiff.nn import transformer
from moldiff.nn.embedding import ConditionEmbedding, ConditionSlot, fourier
from moldiff.nn.transformer import Transformer, TransformerConfig, attend, rotary_angles, rotate

SLOTS = (ConditionSlot(classes=2), ConditionSlot())


def network(**options: Any) -> Transformer:
    """A small network whose every weight is random: fresh heads and gates are zero."""
    torch.manual_seed(0)
    size: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, **options}
    net = Transformer(TransformerConfig(5, 6, 12, **size))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


def rows(count: int = 4, length: int = 8) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    return torch.randint(6, (count, length), generator=source), torch.rand(count, generator=source)


def conditions(count: int = 4) -> Tensor:
    return torch.tensor([[1.0, 0.3], [0.0, torch.nan], [torch.nan, -1.0], [torch.nan] * 2])[:count]


VARIANTS: list[dict[str, Any]] = [
    {},
    {"time": True},
    {"slots": SLOTS},
    {"slots": SLOTS, "time": True},
    {"causal": True},
    {"causal": True, "slots": SLOTS, "time": True},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_output_is_normalised_in_single_precision(options: dict[str, Any], dtype: torch.dtype) -> None:
    net = network(**options).to(dtype)
    x, t = rows()
    out = net(x, t, conditions() if "slots" in options else None)
    assert out.shape == (4, 8, 5)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.exp().sum(-1), torch.ones(4, 8), rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_output_under_autocast_is_normalised_and_close(options: dict[str, Any]) -> None:
    net = network(**options)
    x, t = rows()
    cond = conditions() if "slots" in options else None
    exact = net(x, t, cond)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(x, t, cond)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.exp().sum(-1), torch.ones(4, 8), rtol=0, atol=1e-6)
    assert (out.exp() - exact.exp()).abs().max() < 0.15
    assert not out.equal(exact)


def test_a_fresh_network_knows_nothing() -> None:
    net = Transformer(TransformerConfig(5, 6, 12, width=16, depth=2, heads=2, slots=SLOTS, time=True))
    x, t = rows()
    torch.testing.assert_close(net(x, t, conditions()).exp(), torch.full((4, 8, 5), 0.2))


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_a_row_does_not_depend_on_its_company(options: dict[str, Any]) -> None:
    net = network(**options)
    x, t = rows()
    cond = conditions() if "slots" in options else None
    whole = net(x, t, cond)
    for i in range(4):
        alone = net(x[i : i + 1], t[i : i + 1], None if cond is None else cond[i : i + 1])
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"slots": SLOTS, "time": True}], ids=str)
def test_causal_positions_do_not_see_what_follows(options: Any, dtype: torch.dtype) -> None:
    net = network(causal=True, **options).to(dtype)
    x, t = rows()
    before = net(x, t)
    for place in range(1, 8):
        changed = x.clone()
        changed[:, place:] = (changed[:, place:] + 1) % 6
        after = net(changed, t)
        assert after[:, :place].equal(before[:, :place])
        assert not after[:, place:].equal(before[:, place:])


def test_causal_positions_do_not_see_how_long_the_row_is() -> None:
    net = network(causal=True)
    x, t = rows()
    torch.testing.assert_close(net(x[:, :5], t), net(x, t)[:, :5], rtol=1e-5, atol=1e-6)


def test_other_positions_see_the_whole_row() -> None:
    net = network()
    x, t = rows()
    before = net(x, t)
    changed = x.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 6
    assert (net(changed, t)[:, 0] != before[:, 0]).any(-1).all()


@pytest.mark.parametrize("causal", [False, True])
def test_positions_and_lengths_of_rows_of_masks_alone_can_be_told_apart(causal: bool) -> None:
    net = network(causal=causal)
    outs = [net(torch.full((1, n), 5), torch.ones(1))[0] for n in (5, 6)]
    for out in outs:
        gaps = torch.cdist(out.exp(), out.exp()) + torch.eye(len(out))
        assert gaps.min() > 1e-3
    if not causal:
        assert (outs[0][0].exp() - outs[1][0].exp()).abs().max() > 1e-3


def test_one_table_counts_from_the_start_and_one_from_the_end() -> None:
    # Without attention a position is told its place by the two tables alone.
    for table, same in ((0, slice(0, 5)), (1, slice(1, 6))):
        net = network()
        with torch.no_grad():
            net.edges[1 - table].zero_()
            for block in net.blocks:
                block.out.weight.zero_()
        short, long = (net(torch.full((1, n), 5), torch.ones(1))[0] for n in (5, 6))
        torch.testing.assert_close(short, long[same])
        other = slice(1, 6) if table == 0 else slice(0, 5)
        assert (short - long[other]).abs().max() > 1e-2


def test_no_condition_is_every_slot_null() -> None:
    for options in ({"slots": SLOTS}, {"slots": SLOTS, "time": True}):
        net = network(**options)
        x, t = rows()
        assert net(x, t, torch.full((4, 2), torch.nan)).equal(net(x, t))


def test_every_slot_and_every_value_matters() -> None:
    net = network(slots=SLOTS)
    x, t = rows(1)
    told = [[0.0, torch.nan], [1.0, torch.nan], [torch.nan, 0.0], [torch.nan, 0.5], [torch.nan] * 2]
    outs = [net(x, t, torch.tensor([c])) for c in told]
    for i, a in enumerate(outs):
        for b in outs[i + 1 :]:
            assert (a - b).abs().max() > 1e-3


def test_conditions_add_up_and_null_is_learned() -> None:
    torch.manual_seed(0)
    embed = ConditionEmbedding(SLOTS, 4)
    nn.init.normal_(embed.null)
    cond = torch.tensor([[1.0, torch.nan], [torch.nan, 2.0]])
    first, second = embed.values
    assert isinstance(first, nn.Embedding)
    assert first.num_embeddings == 2
    number = second(fourier(torch.tensor([2.0]), embed.frequencies))[0]
    want = torch.stack([first.weight[1] + embed.null[1], embed.null[0] + number])
    torch.testing.assert_close(embed(cond), want)


def test_time_matters_only_where_the_network_is_told() -> None:
    x, t = rows()
    timed, timeless = network(time=True), network()
    assert (timed(x, t) - timed(x, t / 2)).abs().amax((1, 2)).min() > 1e-3
    assert timeless(x, t).equal(timeless(x, t / 2))


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_slopes_reach_every_parameter(options: dict[str, Any]) -> None:
    net = network(**options)
    x, t = rows(4, 12)
    cond = conditions() if "slots" in options else None
    net(x, t, cond)[..., 0].sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.ne(0).any(), name


def test_a_fresh_network_can_start_to_learn() -> None:
    net = Transformer(TransformerConfig(5, 6, 12, width=16, depth=2, heads=2, slots=SLOTS, time=True))
    x, t = rows()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    start = {k: v.detach().clone() for k, v in net.named_parameters()}
    for _ in range(4):
        optimizer.zero_grad()
        functional.nll_loss(net(x, t, conditions()).flatten(0, 1), x.flatten().clamp(max=4)).backward()
        optimizer.step()
    still = [k for k, v in net.named_parameters() if v.equal(start[k])]
    assert still == []


@pytest.mark.parametrize("length", [12, 13])
def test_a_row_too_long_is_refused(length: int) -> None:
    net, (x, t) = network(), rows(2, length)
    if length <= 12:
        assert net(x, t).shape == (2, 12, 5)
        return
    with pytest.raises(MoldiffError, match="got 13, the network takes at most 12"):
        net(x, t)


def test_dropout_acts_in_training_alone() -> None:
    net = network(dropout=0.5)
    x, t = rows()
    assert net(x, t).equal(net(x, t))
    net.train()
    assert not net(x, t).equal(net(x, t))


def heads(dtype: torch.dtype, length: int) -> list[Tensor]:
    source = torch.Generator().manual_seed(2)
    return list(torch.randn(3, 2, 3, length, 8, generator=source).to(dtype))


@pytest.mark.parametrize("length", [1, 7, 128, 129])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_softmax_attention(length: int, dtype: torch.dtype, causal: bool) -> None:
    q, k, v = heads(dtype, length)
    want = functional.scaled_dot_product_attention(q.double(), k.double(), v.double(), is_causal=causal)
    slack = 3e-2 if dtype == torch.bfloat16 else 1e-5
    out = attend(q, k, v, causal)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), want, rtol=slack, atol=slack)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_by_two_products_has_the_fused_kernels_slope(causal: bool) -> None:
    slopes = []
    for dtype in (torch.bfloat16, torch.float64):
        q, k, v = (x.to(dtype).requires_grad_() for x in heads(torch.bfloat16, 9))
        attend(q, k, v, causal).square().sum().backward()
        slopes.append([x.grad.double() for x in (q, k, v) if x.grad is not None])
    assert len(slopes[0]) == 3
    for coarse, exact in zip(*slopes, strict=True):
        torch.testing.assert_close(coarse, exact, rtol=0.1, atol=0.1)


def test_attention_under_autocast_gets_one_low_precision(monkeypatch: Any) -> None:
    # Rotation in float32 would lift q and k, and with them attention, out of bfloat16.
    seen = []

    def spy(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        seen.append({q.dtype, k.dtype, v.dtype})
        return attend(q, k, v, causal)

    monkeypatch.setattr(transformer, "attend", spy)
    x, t = rows()
    with torch.autocast("cpu", torch.bfloat16):
        network()(x, t)
    assert seen == [{torch.bfloat16}] * 2


def test_rotation_keeps_lengths_and_sees_only_distances() -> None:
    q, k = torch.randn(2, 1, 8, dtype=torch.float64).expand(2, 10, 8)
    angles = rotary_angles(10, 8).double()
    a, b = rotate(q, angles), rotate(k, angles)
    torch.testing.assert_close(a.norm(dim=-1), q.norm(dim=-1))
    scores = a @ b.T
    for shift in range(-5, 6):
        along = scores.diagonal(shift)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=0, atol=1e-5)
    assert a[0].equal(q[0])


def test_on_a_grid_scores_depend_on_how_far_apart_rows_and_columns_are() -> None:
    # The same vectors at every place, so that only the places tell scores apart.
    q, k = (torch.randn(8, generator=torch.Generator().manual_seed(n)).double() for n in (0, 1))
    angles = rotary_angles(12, 8, (3, 4)).double()
    a, b = (rotate(x.expand(12, 8), angles) for x in (q, k))
    scores = (a @ b.T).view(3, 4, 3, 4)
    for down in (0, 1):
        for right in (0, 1, 2):
            apart = [scores[r, c, r + down, c + right] for r in range(3 - down) for c in range(4 - right)]
            torch.testing.assert_close(torch.stack(apart), apart[0].expand(len(apart)), rtol=0, atol=1e-6)
    # Down is not right, and the end of a line is far from the start of the next.
    assert not torch.isclose(scores[0, 0, 1, 0], scores[0, 0, 0, 1], atol=1e-3)
    assert not torch.isclose(scores[0, 3, 1, 0], scores[0, 0, 0, 1], atol=1e-3)


def test_a_network_sees_the_grid() -> None:
    x, t = torch.randint(6, (2, 12), generator=torch.Generator().manual_seed(0)), torch.zeros(2)
    line, grid = network(), network(grid=(3, 4))
    assert not torch.allclose(line(x, t), grid(x, t), atol=1e-3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"grid": (3, 5)}, "grid: got 3 x 5, but rows have 12 tokens"),
        ({"grid": (-3, -4)}, "grid: got -3 x -4"),
        ({"grid": (3, 4), "width": 12}, "width: got 12, of a grid"),
        ({"width": 15}, "multiple"),
        ({"width": 18, "heads": 6}, "multiple"),
        ({"depth": 0}, "at least 1"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
    ],
)
def test_wrong_sizes_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(MoldiffError, match=says):
        TransformerConfig(5, 6, 12, **options)


def test_a_slot_has_no_negative_number_of_classes() -> None:
    with pytest.raises(MoldiffError, match="classes"):
        ConditionSlot(-1)
