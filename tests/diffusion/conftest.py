"""Toys: joint laws so small that every state, step and path can be enumerated."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from moldiff.diffusion.process import Masked, Process, Uniform
from moldiff.diffusion.remasking import Remasking, Step, View
from moldiff.diffusion.sampler import Sampler
from moldiff.diffusion.schedule import LogLinear, NoiseSchedule


@dataclass(frozen=True)
class Toy:
    """A law over rows of L tokens of K kinds, ``joint`` of shape (K,) * L, with the exact denoisers."""

    joint: Tensor

    @property
    def tokens(self) -> int:
        return self.joint.shape[0]

    @property
    def length(self) -> int:
        return self.joint.ndim

    @property
    def law(self) -> Tensor:
        return self.joint.flatten()

    @property
    def entropy(self) -> float:
        return float(-(self.law * self.law.log()).sum())

    @property
    def clean(self) -> Tensor:
        """All rows of data tokens, (K**L, L), in the order of ``law``."""
        return self.states(self.tokens)

    def masked(self, schedule: NoiseSchedule | None = None) -> Masked:
        return Masked(self.tokens, schedule or LogLinear())

    def uniform(self, schedule: NoiseSchedule | None = None) -> Uniform:
        return Uniform(self.tokens, schedule or LogLinear())

    def states(self, kinds: int) -> Tensor:
        """All rows of ``kinds`` states, (kinds**L, L)."""
        return torch.cartesian_prod(*[torch.arange(kinds)] * self.length)

    def code(self, x: Tensor, kinds: int) -> Tensor:
        """The place of each row of x (..., L) in ``states(kinds)``."""
        powers = kinds ** torch.arange(self.length - 1, -1, -1)
        return (x * powers).sum(-1)

    def likelihoods(self, process: Process, x_t: Tensor, alpha: float) -> Tensor:
        """q(x_t^l | x_0^l = v), (B, L, K)."""
        eye = torch.eye(self.tokens, dtype=torch.float64)
        return process.marginal(eye, alpha).T[x_t]

    def noised(self, process: Process, alpha: float) -> Tensor:
        """q(x_t | x_0) for every pair, (K**L, S**L)."""
        x_t = self.states(process.num_states)
        each = self.likelihoods(process, x_t, alpha)
        picked = [each[:, at, self.clean[:, at]] for at in range(self.length)]
        return torch.stack(picked).prod(0).T

    def leave_one_out(self, process: Process, x_t: Tensor, alpha: float) -> Tensor:
        """p(x_0^l | x_t without x_t^l), (B, L, K); for masks the exact denoiser where masked."""
        each = self.likelihoods(process, x_t, alpha)
        picked = torch.stack([each[:, at, self.clean[:, at]] for at in range(self.length)])
        out = []
        for at in range(self.length):
            others = torch.cat([picked[:at], picked[at + 1 :]]).prod(0) * self.law
            rows = [others[:, self.clean[:, at] == v].sum(-1) for v in range(self.tokens)]
            out.append(torch.stack(rows, -1))
        p = torch.stack(out, 1)
        return p / p.sum(-1, keepdim=True)

    def posterior_mean(self, process: Process, x_t: Tensor, alpha: float) -> Tensor:
        """p(x_0^l | x_t), (B, L, K)."""
        p = self.leave_one_out(process, x_t, alpha) * self.likelihoods(process, x_t, alpha)
        return p / p.sum(-1, keepdim=True)

    def step_matrix(self, process: Process, remasking: Remasking, step: Step) -> Tensor:
        """Chances to go from each state of a row to each other, (S**L, S**L)."""
        x = self.states(process.num_states)
        noise = process.is_noise(x)
        rates = remasking.rates(step, View(noise, ~noise, torch.ones(x.shape)))
        p_x0 = self.leave_one_out(process, x, 0.5 if noise.any() else step.alpha_t)
        each = process.transition(p_x0, x, step, rates)
        matrix = torch.ones(len(x), 1, dtype=torch.float64)
        for at in range(self.length):
            matrix = (matrix[:, :, None] * each[:, at, None, :]).flatten(1)
        return matrix

    def chain(self, process: Process, remasking: Remasking, steps: int) -> list[Tensor]:
        """The sampler's exact law over all S**L states before the first and after every step."""
        start = torch.ones(1, dtype=torch.float64)
        for _ in range(self.length):
            start = (start[:, None] * process.noise(self.law)).flatten()
        laws = [start]
        for step in Sampler(process, steps, remasking).grid():
            laws.append(laws[-1] @ self.step_matrix(process, remasking, step))
        return laws

    def on_data(self, process: Process, law: Tensor) -> Tensor:
        """The part of a law over all states that lies on rows of data tokens, (K**L,)."""
        return law[self.code(self.clean, process.num_states)]

    def distance(self, law: Tensor) -> float:
        """Total variation between ``law`` (K**L,) and the data."""
        return float((law - self.law).abs().sum() / 2)

    def denoiser(self, process: Process) -> "Exact":
        return Exact(self, process)

    def misfit(self, x: Tensor, law: Tensor) -> float:
        """The p-value of Pearson's test that rows x (N, L) of data tokens follow ``law`` (K**L,)."""
        counts = torch.bincount(self.code(x, self.tokens), minlength=len(law)).double()
        expected = law * len(x)
        assert counts[law <= 0].sum() == 0
        small = expected < 5
        pairs = [(counts[~small], expected[~small])]
        if small.any():
            pairs.append((counts[small].sum()[None], expected[small].sum()[None]))
        seen, wanted = (torch.cat(part) for part in zip(*pairs, strict=True))
        seen, wanted = seen[wanted > 0], wanted[wanted > 0]
        return float(chi2.sf(float(((seen - wanted) ** 2 / wanted).sum()), len(wanted) - 1))


class Exact(nn.Module):
    """The denoiser that minimises the bound: a module, so that its forwards can be counted."""

    def __init__(self, toy: Toy, process: Process) -> None:
        super().__init__()
        self.toy, self.process = toy, process
        self.known: dict[float, Tensor] = {}

    def table(self, alpha: float) -> Tensor:
        """Log-probabilities for every state, (S**L, L, K)."""
        if alpha not in self.known:
            x = self.toy.states(self.process.num_states)
            self.known[alpha] = self.toy.leave_one_out(self.process, x, alpha).log()
        return self.known[alpha]

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        timeless = self.process.num_states > self.process.num_tokens
        alpha = 0.5 if timeless else float(self.process.schedule.alpha(t[0]))
        return self.table(alpha)[self.toy.code(x_t, self.process.num_states)]


def random_toy(tokens: int, length: int, seed: int) -> Toy:
    source = torch.Generator().manual_seed(seed)
    weights = torch.rand((tokens,) * length, generator=source, dtype=torch.float64) ** 3 + 0.01
    return Toy(weights / weights.sum())


@pytest.fixture(scope="session")
def pair() -> Toy:
    """Three tokens, rows of two."""
    return random_toy(3, 2, 0)


@pytest.fixture(scope="session")
def triple() -> Toy:
    """Three tokens, rows of three."""
    return random_toy(3, 3, 1)


@pytest.fixture(scope="session")
def sticky() -> Toy:
    """Two tokens, rows of six: a Markov chain that stays with a chance of 0.95, uniform at first."""
    stay = torch.tensor([[0.95, 0.05], [0.05, 0.95]], dtype=torch.float64)
    joint = torch.full((2,), 0.5, dtype=torch.float64)
    for _ in range(5):
        joint = joint[..., None] * stay
    return Toy(joint)


@pytest.fixture(params=["masked", "uniform"])
def process(request: Any, pair: Toy) -> Process:
    """Each forward process over the tokens of ``pair`` and ``triple``."""
    made: Process = getattr(pair, request.param)()
    return made


@pytest.fixture
def integral() -> Any:
    """Integrates f over (0, 1) by Gauss's rule on a grid dense at both ends."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    u = (nodes + 1) / 2
    t = u * u * (3 - 2 * u)
    scale = 6 * u * (1 - u) * weights / 2

    def over(f: Any) -> float:
        return math.fsum(float(f(float(at))) * w for at, w in zip(t, scale, strict=True))

    return over
