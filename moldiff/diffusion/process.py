"""Forward processes: how a clean token becomes noise, and the exact reverse of one step."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, final

import torch
from torch import Tensor

from moldiff.diffusion.categorical import one_hot
from moldiff.diffusion.remasking import Rates, Step
from moldiff.diffusion.schedule import LogLinear, NoiseSchedule
from moldiff.errors import MoldiffError, Unfit

#: Where guidance acts: on the predicted clean tokens, or on the distribution of the next state.
Level = Literal["x0", "posterior"]


class Formulation(Protocol):
    """What a model learns of rows of K data tokens: to undo noise, or to go on where a row ends."""

    @property
    def num_tokens(self) -> int:
        """K, the data tokens 0..K-1."""
        ...

    @property
    def num_states(self) -> int:
        """S, the states that the network reads."""
        ...

    @property
    def num_outputs(self) -> int:
        """The states that the network predicts."""
        ...

    @property
    def causal(self) -> bool:
        """Whether the network sees no position behind the one that it speaks of."""
        ...

    @property
    def timed(self) -> bool:
        """Whether what the network predicts depends on the time."""
        ...

    @property
    def level(self) -> Level:
        """Where guidance acts unless the caller says otherwise."""
        ...


@dataclass(frozen=True)
class Process(ABC):
    """q(x_t | x_0) = alpha_t x_0 + (1 - alpha_t) noise, each position by itself.

    Args:
        num_tokens: K, the data tokens 0..K-1.
        schedule: alpha(t).
    """

    num_tokens: int
    schedule: NoiseSchedule = field(default_factory=LogLinear)

    def __post_init__(self) -> None:
        if self.num_tokens < 1:
            raise MoldiffError(f"num_tokens: got {self.num_tokens}, must be at least 1")

    @property
    @abstractmethod
    def num_states(self) -> int:
        """S, the states that a position can be in."""

    @final
    @property
    def num_outputs(self) -> int:
        """The states that the network predicts: the data tokens."""
        return self.num_tokens

    @final
    @property
    def causal(self) -> bool:
        """Whether the network sees no position behind the one that it speaks of."""
        return False

    @final
    @property
    def timed(self) -> bool:
        """Whether what the network predicts depends on the time: else x_t says all that counts."""
        return not self.events_first

    @property
    @abstractmethod
    def level(self) -> Level:
        """Where guidance acts unless the caller says otherwise."""

    @property
    @abstractmethod
    def events_first(self) -> bool:
        """Whether it can be drawn which positions change before the network is asked to what."""

    @abstractmethod
    def noise(self, like: Tensor) -> Tensor:
        """The noise distribution over states, (S,), with the dtype and device of ``like``."""

    @abstractmethod
    def is_noise(self, x_t: Tensor) -> Tensor:
        """Flags (B, L) of the positions that are recognisably noise."""

    @abstractmethod
    def carry_over(self, p_x0: Tensor, x_t: Tensor) -> Tensor:
        """p_x0 (B, L, K) with what x_t (B, L) already says made certain."""

    @abstractmethod
    def max_sigma(self, alpha_t: float, alpha_s: float) -> float:
        """The largest chance to remask that keeps the marginal of the step."""

    @abstractmethod
    def prior(self, uniform: Tensor) -> Tensor:
        """Pure noise (B, L) from uniform (B, L) in [0, 1)."""

    @abstractmethod
    def transition(self, p_x0: Tensor, x_t: Tensor, step: Step, rates: Rates) -> Tensor:
        """Chances of the next state, (B, L, S), with remasking."""

    @abstractmethod
    def nelbo(self, log_x0: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Integrand of the continuous-time bound on -log p(x_0) in nats, (B, L), for t (B,)."""

    @final
    def marginal(self, p_x0: Tensor, alpha: Tensor | float) -> Tensor:
        """q(x_t | p_x0), (B, L, S), for p_x0 (B, L, K)."""
        padded = torch.nn.functional.pad(p_x0, (0, self.num_states - self.num_tokens))
        return alpha * padded + (1 - alpha) * self.noise(p_x0)

    @final
    def posterior(
        self, p_x0: Tensor, x_t: Tensor, alpha_t: Tensor | float, alpha_s: Tensor | float
    ) -> Tensor:
        """q(x_s | x_t, p_x0), (B, L, S), by Bayes' rule; p_x0 (B, L, K), 0 <= alpha_t <= alpha_s > 0."""
        stay, here = alpha_t / alpha_s, one_hot(x_t, self.num_states, p_x0.dtype)
        likelihood = stay * here + (1 - stay) * self.noise(p_x0)[x_t][..., None]
        joint = likelihood * self.marginal(self.carry_over(p_x0, x_t), alpha_s)
        total = joint.sum(-1, keepdim=True)
        # Near t = 0 a flat schedule rounds to no noise at all: what is there stays, whatever is predicted.
        return torch.where(total > 0, joint / total, here)

    @final
    def q_sample(self, x_0: Tensor, t: Tensor, uniform: Tensor) -> Tensor:
        """A noisy x_t (B, L) for x_0 (B, L), t (B,) and uniform (2, B, L) in [0, 1)."""
        keep = uniform[0] < self.schedule.alpha(t)[:, None]
        return torch.where(keep, x_0, self.prior(uniform[1]))


@final
@dataclass(frozen=True)
class Masked(Process):
    """Noise is one extra state, the mask, with id K (MDLM; Sahoo et al., 2024, arXiv:2406.07524)."""

    @property
    def num_states(self) -> int:
        return self.num_tokens + 1

    @property
    def level(self) -> Level:
        return "x0"

    @property
    def events_first(self) -> bool:
        return True

    def noise(self, like: Tensor) -> Tensor:
        states = torch.zeros(self.num_states, dtype=like.dtype, device=like.device)
        states[self.num_tokens] = 1
        return states

    def is_noise(self, x_t: Tensor) -> Tensor:
        return x_t == self.num_tokens

    def carry_over(self, p_x0: Tensor, x_t: Tensor) -> Tensor:
        known = one_hot(x_t, self.num_states, p_x0.dtype)[..., : self.num_tokens]
        return torch.where(self.is_noise(x_t)[..., None], p_x0, known)

    def max_sigma(self, alpha_t: float, alpha_s: float) -> float:
        return 1.0 if alpha_t == 0 else min(1.0, (1 - alpha_s) / alpha_t)

    def prior(self, uniform: Tensor) -> Tensor:
        return torch.full(uniform.shape, self.num_tokens, dtype=torch.int64, device=uniform.device)

    def transition(self, p_x0: Tensor, x_t: Tensor, step: Step, rates: Rates) -> Tensor:
        masked = self.is_noise(x_t)
        change = torch.where(masked, 1 - _at(rates.unmask, p_x0), _at(rates.remask, p_x0))
        tokens = (1 - change)[..., None] * self.carry_over(p_x0, x_t)
        return torch.cat([tokens, change[..., None]], dim=-1)

    def nelbo(self, log_x0: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        visible = ~self.is_noise(x_t)
        surprise = -log_x0.gather(-1, x_0[..., None]).squeeze(-1).masked_fill(visible, 0.0)
        # The weight is infinite where t rounds to 0; a visible token must not make inf * 0 of it.
        weight = self.schedule.weight(t)[:, None].masked_fill(visible, 0.0)
        return weight.to(surprise.dtype) * surprise


@final
@dataclass(frozen=True)
class Uniform(Process):
    """Noise is a random data token (UDLM; Schiff et al., 2024, arXiv:2412.10193).

    The bound is met with equality by the leave-one-out law p(x_0^l | x_t without x_t^l), which is therefore
    what the network has to predict; the clean read-out is the posterior at alpha_s = 1. Remasking, with the
    chance sigma that a token turns into noise again, is a step to alpha_s / (1 - sigma) and noise back.
    """

    @property
    def num_states(self) -> int:
        return self.num_tokens

    @property
    def level(self) -> Level:
        return "posterior"

    @property
    def events_first(self) -> bool:
        return False

    def noise(self, like: Tensor) -> Tensor:
        return torch.full((self.num_tokens,), 1 / self.num_tokens, dtype=like.dtype, device=like.device)

    def is_noise(self, x_t: Tensor) -> Tensor:
        return torch.zeros_like(x_t, dtype=torch.bool)

    def carry_over(self, p_x0: Tensor, x_t: Tensor) -> Tensor:
        return p_x0

    def max_sigma(self, alpha_t: float, alpha_s: float) -> float:
        return 1 - alpha_s

    def prior(self, uniform: Tensor) -> Tensor:
        return (uniform * self.num_tokens).long().clamp(max=self.num_tokens - 1)

    def transition(self, p_x0: Tensor, x_t: Tensor, step: Step, rates: Rates) -> Tensor:
        # A step too far, and back by noise. For masks the mix of posterior and marginal is the same; here a
        # token from the marginal would forget what stood in its place, and all of them would be drawn apart.
        sigma = _at(rates.remask, p_x0)[..., None]
        ahead = (step.alpha_s / (1 - sigma)).clamp(max=1)
        return (1 - sigma) * self.posterior(p_x0, x_t, step.alpha_t, ahead) + sigma * self.noise(p_x0)

    def nelbo(self, log_x0: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        # Sum over j != z of r'_j - r_j + r_j log(r_j / r'_j), the reverse jump rates out of z = x_t being
        # r_j = c x_bar_j / x_bar_z with x_bar = K alpha x + 1 - alpha, and r' the same of the prediction.
        k, eps = self.num_tokens, torch.finfo(log_x0.dtype).eps
        # In the precision of t: near t = 0 what counts is how little noise is left.
        alpha = self.schedule.alpha(t)[:, None]
        alpha, low = (part.clamp(min=eps).to(log_x0.dtype) for part in (alpha, 1 - alpha))
        c, high = -self.schedule.dalpha(t)[:, None].to(log_x0.dtype) / (alpha * k), low + k * alpha
        bar = partial(_log_sum, (k * alpha).log()[..., None], low.log()[..., None])
        log_bar_z, log_bar_x = (bar(log_x0.gather(-1, x[..., None])).squeeze(-1) for x in (x_t, x_0))
        hit = x_t == x_0
        bar_z = torch.where(hit, high, low)
        entropy = torch.where(hit, (k - 1) * low * low.log(), (k - 2) * low * low.log() + high * high.log())
        cross = low * (bar(log_x0).sum(-1) - log_bar_z) + torch.where(hit, 0.0, k * alpha * log_bar_x)
        divergence = (entropy - cross + (k - bar_z) * (log_bar_z - bar_z.log())) / bar_z
        return c * (k * (-log_bar_z).exp() - k / bar_z + divergence)


def need_masks(process: Process, what: str) -> None:
    """Refuses a process whose noise is not a mask, for a policy that looks for masks."""
    if not process.events_first:
        raise Unfit(what, "a process without masks", "masks only")


def _log_sum(log_scale: Tensor, log_rest: Tensor, log_p: Tensor) -> Tensor:
    """log(scale p + rest), which keeps for its slope one array as large as log_p and no other."""
    return torch.logaddexp(log_p + log_scale, log_rest)


def _at(rate: Tensor | float, like: Tensor) -> Tensor:
    """A rate as (B, L) or a scalar tensor of the dtype of ``like``."""
    return torch.as_tensor(rate, dtype=like.dtype, device=like.device)
