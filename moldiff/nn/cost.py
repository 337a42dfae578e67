"""The cost of sampling: forwards counted by a hook, so that no call escapes, and what a forward costs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn


class Size(Protocol):
    """What the cost of a transformer depends on."""

    @property
    def width(self) -> int:
        """Features a position."""
        ...

    @property
    def depth(self) -> int:
        """Blocks."""
        ...

    @property
    def time(self) -> bool:
        """Whether each block has a layer that scales, shifts and gates by a signal a row."""
        ...


def operations(size: Size, rows: int, tokens: int, length: float, outputs: int) -> float:
    """Floating-point operations of a transformer's matrix products over ``rows`` of ``tokens`` in all.

    A product of (a, b) and (b, c) counts 2abc. A block has 12 D^2 weights that meet every token, two products
    of ``length`` x D a token in the attention (nothing is saved where it is causal), and with time 6 D^2
    weights that meet a row once; the last layer has D x ``outputs``. Sums, norms and softmax are left out.

    Args:
        size: of the network, with D features.
        rows: how many.
        tokens: of all rows together.
        length: tokens that a token attends to.
        outputs: numbers that come out for a token.
    """
    width = size.width
    block = tokens * (2 * 12 * width**2 + 4 * length * width)
    if size.time:
        block += rows * 2 * 6 * width**2
    return size.depth * block + tokens * 2 * width * outputs


@dataclass
class Cost:
    """Forwards counted so far: calls, rows, rows x length, and rows whose answers carry gradients."""

    calls: int = 0
    rows: int = 0
    tokens: int = 0
    gradients: int = 0


@contextmanager
def count_forwards(network: nn.Module) -> Iterator[Cost]:
    """Counts every forward of ``network`` in the block; its first argument is x_t (B, L) or (B, L, S)."""
    cost = Cost()

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        rows, length = args[0].shape[:2]
        cost.calls += 1
        cost.rows += rows
        cost.tokens += rows * length
        if getattr(output, "requires_grad", False):
            cost.gradients += rows

    handle = network.register_forward_hook(hook)
    try:
        yield cost
    finally:
        handle.remove()
