"""From a property's value to a worth between 0 and 1, and from several worths to one.

The shapes and their parameters are those of GuacaMol (Brown et al. 2019) and of PMO (Gao et al. 2022).
"""

import math
from collections.abc import Sequence


def near(x: float, mu: float, sigma: float) -> float:
    """1 at mu, falling off on both sides as a Gaussian of standard deviation sigma > 0."""
    return math.exp(-0.5 * ((x - mu) / sigma) ** 2)


def at_most(x: float, mu: float, sigma: float) -> float:
    """1 up to mu, falling off above it as a Gaussian of standard deviation sigma > 0."""
    return 1.0 if x <= mu else near(x, mu, sigma)


def at_least(x: float, mu: float, sigma: float) -> float:
    """1 from mu on, falling off below it as a Gaussian of standard deviation sigma > 0."""
    return 1.0 if x >= mu else near(x, mu, sigma)


def clipped(x: float, upper: float) -> float:
    """The share of ``upper`` > 0 that x reaches, from 0 to 1."""
    return min(max(x / upper, 0.0), 1.0)


def geometric_mean(worths: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """The weighted geometric mean of worths >= 0; 0 where any of them is 0.

    Args:
        worths: N numbers, at least one.
        weights: N numbers above 0; equal ones where None.
    """
    weights = [1.0] * len(worths) if weights is None else weights
    if min(worths) <= 0:
        return 0.0
    logs = [weight * math.log(worth) for worth, weight in zip(worths, weights, strict=True)]
    return math.exp(math.fsum(logs) / math.fsum(weights))
