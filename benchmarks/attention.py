"""Times the two forms of short-row attention on a CPU in bfloat16: the fused kernel and two plain products.

    python benchmarks/attention.py

Prints milliseconds, the best of several runs, forward and forward with backward, and the forms' ratio.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from moldiff.nn.transformer import attend

#: (rows, heads, length, features a head): a training batch of short rows, and a longer one.
SHAPES = ((273, 6, 15, 32), (128, 6, 32, 32), (64, 6, 64, 32))
REPEATS = 8


def best(run: Callable[[], object]) -> float:
    """Milliseconds of the fastest of several runs."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def times(form: Callable[..., Tensor], inputs: Sequence[Tensor]) -> tuple[float, float]:
    """Milliseconds of a form's forward, and of its forward with backward."""
    return best(lambda: form(*inputs)), best(lambda: form(*inputs).sum().backward())


def fused(causal: bool) -> Callable[..., Tensor]:
    """The fused kernel."""
    return partial(functional.scaled_dot_product_attention, is_causal=causal)


def products(causal: bool) -> Callable[..., Tensor]:
    """What the network runs on a CPU in bfloat16."""
    return partial(attend, causal=causal)


def main() -> None:
    """Prints one line a shape, both ways and causal."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, bfloat16")
    for shape, causal in product(SHAPES, (False, True)):
        inputs = [torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
        (f_1, b_1), (f_2, b_2) = times(fused(causal), inputs), times(products(causal), inputs)
        print(
            f"{shape}{' causal' if causal else ''}: "
            f"forward {f_1:.2f} and {f_2:.2f} ms (fused / products {f_1 / f_2:.1f}), "
            f"with backward {b_1:.2f} and {b_2:.2f} ms ({b_1 / b_2:.1f})"
        )


if __name__ == "__main__":
    main()
