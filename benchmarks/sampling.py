"""Times the sampling loop against a plain one, and how much of it is not the network.

    python benchmarks/sampling.py [MODEL] [--rows N] [--repeats N] [--out FILE.json]

The plain loop is what a first implementation does: rows padded to 32 with a key-padding mask, every row run
at every step, guidance in two calls. Same network, same law. Both loops run in turn in one process, so the
ratio of their times holds on a busy machine too; times are medians. All steps of the plain loop cost the
same, so of a long walk only the first 64 are run, and their time is scaled up.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from moldiff import Model, load
from moldiff.diffusion.sampler import Sampler
from moldiff.guidance.classifier_free import ClassifierFree, combine
from moldiff.nn.cost import count_forwards
from moldiff.nn.precision import autocast
from moldiff.nn.transformer import Block, Transformer, rotary_angles, rotate
from moldiff.targets import TargetSampler, parse
from moldiff.types import Rows

PADDED, SCALE, TARGET, TIMED_STEPS = 32, 2.0, "qed=0.55", 64
STEPS = (32, 128, 1024)
#: What the ratio has to reach, and what it should.
FLOORS = {32: (3, 5), 128: (6, 12), 1024: (30, 60)}


@dataclass(frozen=True)
class Work:
    """What both loops sample: a model, and for each of N rows a length and conditions."""

    model: Model
    lengths: Tensor
    cond: Tensor

    @classmethod
    def of(cls, model: Model, count: int) -> "Work":
        """N rows with one numeric target."""
        target = parse(TARGET, model.card.conditions, model.table)
        lengths, cond = TargetSampler(model.table, model.card.conditions, [target]).draw(
            torch.arange(count), seed=0
        )
        assert cond is not None
        return cls(model, torch.from_numpy(lengths), cond)


def ours(work: Work, steps: int) -> None:
    """All rows through the library's sampler, grouped by length."""
    sampler, guidance = Sampler(work.model.process, steps), ClassifierFree(SCALE)
    for length in np.unique(work.lengths.numpy()):
        index = (work.lengths == int(length)).nonzero().squeeze(-1)
        sampler(work.model.network, Rows(index, int(length), work.cond[index]), guidance, 0)


def attention(block: Block, x: Tensor, rotation: Tensor, keep: Tensor) -> Tensor:
    """What ``Block`` computes by attention, for padded rows."""
    rows, length, width = x.shape
    shape = rows, length, 3, block.heads, width // block.heads
    qkv = block.qkv(x).view(shape).permute(2, 0, 3, 1, 4)
    q, k = rotate(qkv[:2], rotation).to(qkv.dtype)
    y = functional.scaled_dot_product_attention(q, k, qkv[2], attn_mask=keep[:, None, None])
    out: Tensor = block.out(y.transpose(1, 2).reshape(rows, length, width))
    return out


def padded_forward(net: Transformer, x: Tensor, lengths: Tensor, cond: Tensor) -> Tensor:
    """Log-probabilities (B, 32, K) of rows filled up to 32 positions, their ends hidden from attention."""
    place = torch.arange(x.shape[1])
    last = net.config.max_length - 1
    keep = place < lengths[:, None]
    from_end = (lengths[:, None] - 1 - place).clamp(0, last)
    h = net.tokens(x) + net.edges[0, place.clamp(max=last)] + net.edges[1, from_end]
    assert net.conditions is not None
    h = h + net.conditions(cond)[:, None]
    rotation = rotary_angles(x.shape[1], net.config.width // net.config.heads)
    for block in net.blocks:
        assert isinstance(block, Block)
        h = h + attention(block, block.norm_1(h), rotation, keep)
        h = h + block.down(functional.relu(block.up(block.norm_2(h))).square())
    logits: Tensor = net.head(net.norm(h))
    return logits.float().log_softmax(-1)


def plain(work: Work, steps: int) -> None:
    """The first steps of the plain loop over all rows."""
    net, mask = work.model.network, work.model.process.num_tokens
    x = torch.full((len(work.lengths), PADDED), mask)
    nothing = torch.full_like(work.cond, torch.nan)
    with torch.no_grad():
        for step in range(min(steps, TIMED_STEPS)):
            log_cond = padded_forward(net, x, work.lengths, work.cond)
            log_null = padded_forward(net, x, work.lengths, nothing)
            guided = combine(log_cond, log_null, SCALE)
            drawn = torch.multinomial(guided.exp().flatten(0, 1), 1).view(x.shape)
            # Log-linear noise: a mask at t = 1 - step / steps is revealed with chance 1 / (steps - step).
            reveal = (x == mask) & (torch.rand(x.shape) < 1 / (steps - step))
            x = torch.where(reveal, drawn, x)


def check_same_network(work: Work) -> float:
    """The largest difference of log-probabilities between the two networks, in float32."""
    length = int(work.lengths[0])
    x = torch.randint(work.model.process.num_states, (4, length))
    filled = functional.pad(x, (0, PADDED - length))
    with torch.no_grad():
        theirs = padded_forward(work.model.network, filled, torch.full((4,), length), work.cond[:4])
        mine = work.model.network(x, torch.ones(4), work.cond[:4])
    return float((theirs[:, :length] - mine).abs().max())


def timed(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@contextmanager
def network_seconds(network: torch.nn.Module) -> Iterator[list[float]]:
    """Seconds inside the network's forward, one number a call."""
    seconds: list[float] = []
    before = network.register_forward_pre_hook(lambda *_: seconds.append(-time.perf_counter()))

    def stop(*_: Any) -> None:
        seconds[-1] += time.perf_counter()

    after = network.register_forward_hook(stop)
    try:
        yield seconds
    finally:
        before.remove()
        after.remove()


def product_rate(repeats: int = 40) -> float:
    """Floating-point operations a second of matrix products in the network's shapes and precision."""
    a, b = torch.randn(4096, 192), torch.randn(192, 768)
    best = float("inf")
    with autocast(torch.device("cpu"), "auto"):
        for _ in range(repeats):
            best = min(best, timed(lambda: a.to(torch.get_autocast_dtype("cpu")) @ b))
        a = a.to((a @ b).dtype)
        b = b.to(a.dtype)
        for _ in range(repeats):
            best = min(best, timed(lambda: a @ b))
    return 2 * 4096 * 192 * 768 / best


def operations(net: Transformer, tokens: int, length: int) -> float:
    """Floating-point operations of the network's matrix products over ``tokens`` in rows of ``length``."""
    width, inner = net.config.width, 12 * net.config.width**2
    each = net.config.depth * (2 * inner + 4 * length * width) + 2 * width * net.config.num_tokens
    return tokens * each


def compare(work: Work, steps: int, repeats: int) -> dict[str, Any]:
    """Both loops in turn: median seconds, their ratio, and where the library's time goes."""
    mine, theirs, shares, rates = [], [], [], []
    scale = steps / min(steps, TIMED_STEPS)
    mean_length = float(work.lengths.double().mean())
    with autocast(work.model.device, "auto"):
        for _ in range(repeats):
            theirs.append(scale * timed(lambda: plain(work, steps)))
            with network_seconds(work.model.network) as inside, count_forwards(work.model.network) as cost:
                mine.append(timed(lambda: ours(work, steps)))
            shares.append(1 - sum(inside) / mine[-1])
            rates.append(operations(work.model.network, cost.tokens, round(mean_length)) / sum(inside))
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    return {
        "steps": steps,
        "seconds": statistics.median(mine),
        "plain_seconds": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "floor_and_aim": FLOORS[steps],
        "outside_network": statistics.median(shares),
        "network_operations_per_second": statistics.median(rates),
    }


def main() -> None:
    """Prints one line a number of steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="qm9")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    work = Work.of(load(options.model, "cpu"), options.rows)
    print(f"networks differ by {check_same_network(work):.1e} at most (float32)")
    rate = product_rate()
    results = [compare(work, steps, options.repeats) for steps in STEPS]
    for r in results:
        low, high = r["ratio_range"]
        print(
            f"T={r['steps']}: {r['seconds']:.2f} s, plain {r['plain_seconds']:.1f} s, ratio {r['ratio']:.1f} "
            f"({low:.1f} to {high:.1f}; floor, aim {r['floor_and_aim']}); outside the network "
            f"{100 * r['outside_network']:.0f} %; network at "
            f"{100 * r['network_operations_per_second'] / rate:.0f} % of {rate / 1e9:.0f} GFLOP/s"
        )
    if options.out:
        facts = {"rows": options.rows, "repeats": options.repeats, "threads": torch.get_num_threads()}
        options.out.write_text(json.dumps({**facts, "product_rate": rate, "results": results}, indent=1))


if __name__ == "__main__":
    main()
