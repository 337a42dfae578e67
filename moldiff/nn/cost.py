"""The cost of sampling, counted by a hook on the network, so that no call escapes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass
class Cost:
    """Forwards counted so far: calls, rows, and rows x length."""

    calls: int = 0
    rows: int = 0
    tokens: int = 0


@contextmanager
def count_forwards(network: nn.Module) -> Iterator[Cost]:
    """Counts every forward of ``network`` while the block runs; its first argument is x_t (B, L)."""
    cost = Cost()

    def hook(module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        cost.calls += 1
        cost.rows += args[0].shape[0]
        cost.tokens += args[0].numel()

    handle = network.register_forward_hook(hook)
    try:
        yield cost
    finally:
        handle.remove()
