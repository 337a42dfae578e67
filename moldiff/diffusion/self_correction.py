"""Training for self-correction: the network also learns to mend what it itself has just predicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final, get_args

import torch
from torch import Tensor, nn

from moldiff.diffusion.categorical import draw
from moldiff.diffusion.objective import Batch, DiffusionObjective, Loss
from moldiff.diffusion.random import Stream
from moldiff.errors import MoldiffError, unknown
from moldiff.types import Denoiser

#: What the corrector reads where tokens were masked: the likeliest ones, a draw, or either for half the rows.
Input = Literal["argmax", "sampled", "mix"]
#: What it reads where tokens were visible: these tokens, as in sampling, or what the network makes of them.
Visible = Literal["carry_over", "raw"]
#: How positions count: all alike, or those that are right by -p instead of -log p.
Errors = Literal["plain", "weighted"]


@final
@dataclass(frozen=True)
class SelfCorrection:
    """The masked bound plus a term that teaches the network to correct itself (ProSeCo, arXiv:2602.11590).

    With y the network's own completion of x_t, the term is w(t) sum_l -log p(x_0^l | y), over all positions:
    read without a mask, the same network proposes what each token should have been. The two passes share the
    noise, the time and the conditions of a row. The gradient does not run through y.

    Args:
        base: the bound; its times and noise are those of both terms.
        weight: of the correction, 0 or more; at 0 the second pass is left out.
        denoise: of the bound, 0 or more.
        input: what y is where x_t is masked.
        visible: what y is where x_t is not. ``carry_over`` is what a sampler shows the corrector.
        errors: how positions count.
        t_min: least time, in [0, 1), of the rows that are corrected. The term is their mean: times from t_min
            on, as if these alone had been drawn. w = 1 / t makes its weight log(1 / t_min) / (1 - t_min) that
            of the bound.
        split: run the backward pass of the bound before the second forward pass, so that the memory that the
            two passes need is not needed at once.
    """

    base: DiffusionObjective
    weight: float = 1.0
    denoise: float = 1.0
    input: Input = "argmax"
    visible: Visible = "carry_over"
    errors: Errors = "plain"
    t_min: float = 0.1
    split: bool = True

    def __post_init__(self) -> None:
        for name, choices in {"input": Input, "visible": Visible, "errors": Errors}.items():
            if getattr(self, name) not in get_args(choices):
                raise unknown(f"correction.{name}", getattr(self, name), get_args(choices))
        if not self.base.process.events_first:
            raise MoldiffError("correction: got a process without masks, it trains masked models only")
        if min(self.weight, self.denoise) < 0 or self.weight + self.denoise == 0:
            got = f"weight {self.weight} and denoise {self.denoise}"
            raise MoldiffError(f"correction: got {got}, need 0 or more and not both 0")
        if not 0 <= self.t_min < 1:
            raise MoldiffError(f"correction.t_min: got {self.t_min}, must be in [0, 1)")

    def __call__(self, denoiser: Denoiser, batch: Batch) -> Loss:
        if self.weight == 0:
            return self._weighed(self.base(denoiser, batch))
        x_t, t = self.base.noised(batch)
        log_x0 = denoiser(x_t, t.float(), batch.cond)
        nelbo = self.base.process.nelbo(log_x0, batch.tokens, x_t, t)
        first = self._weighed(Loss(nelbo.sum() / batch.whole, nelbo.detach().mean()))
        index = (t >= self.t_min).nonzero().squeeze(-1)
        y = self.completion(log_x0.detach(), x_t, batch)[index]
        # A pass without gradients would not do: autocast keeps weights that it has cast, for the second pass.
        total = first.total if self.denoise else first.total.detach()
        if self.split and total.requires_grad and isinstance(denoiser, nn.Module):
            del log_x0, nelbo
            total = settled(total, [p for p in denoiser.parameters() if p.requires_grad])
        if not len(index):
            return Loss(total, first.nll)
        second, parts = self._second(denoiser, batch, y, (index, t[index]))
        return Loss(total + self.weight * second, first.nll, parts)

    def completion(self, log_x0: Tensor, x_t: Tensor, batch: Batch) -> Tensor:
        """The corrector's input y (B, L), data tokens only, for the network's log_x0 (B, L, K)."""
        y = log_x0.argmax(-1)
        if self.input != "argmax":
            length = x_t.shape[1]
            random = self.base.random
            uniform = random.uniform(batch.rows, batch.step, length + 1, Stream.CORRECTION)
            sampled = uniform[:, :1] < (1.0 if self.input == "sampled" else 0.5)
            y = torch.where(sampled, draw(log_x0, uniform[:, 1:]), y)
        if self.visible == "carry_over":
            y = torch.where(self.base.process.is_noise(x_t), y, x_t)
        return y

    def _second(
        self, denoiser: Denoiser, batch: Batch, y: Tensor, rows: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The correction's loss, and for the log its surprise in nats a token and the share of wrong y."""
        index, t = rows
        x_0, cond = batch.tokens[index], None if batch.cond is None else batch.cond[index]
        # To a network that is told the time: nothing of y is noise.
        log_p = denoiser(y, torch.zeros_like(t, dtype=torch.float32), cond)
        log_x = log_p.gather(-1, x_0[..., None]).squeeze(-1)
        wrong = y != x_0
        parts = {"correction_nll": -log_x.detach().mean(), "correction_errors": wrong.float().mean()}
        cost = -log_x if self.errors == "plain" else -torch.where(wrong, log_x, log_x.exp())
        weight = self.base.process.schedule.weight(t)[:, None] / self._share
        return (weight.to(cost.dtype) * cost).sum() / batch.whole, parts

    @property
    def _share(self) -> float:
        """The share of times that are at least t_min."""
        least = self.base.t_min
        return (1 - max(self.t_min, least)) / (1 - least)

    def _weighed(self, loss: Loss) -> Loss:
        return loss if self.denoise == 1 else Loss(self.denoise * loss.total, loss.nll, loss.parts)


def settled(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """A loss with the same value and slope whose graph is gone: its gradients are taken now and kept.

    What the forward pass kept for the backward pass is freed, at the price of one more set of gradients.
    """
    slopes: tuple[Tensor | None, ...] = torch.autograd.grad(loss, parameters, allow_unused=True)
    used = [(p, g) for p, g in zip(parameters, slopes, strict=True) if g is not None]
    known = [loss.detach(), len(used), *[g for _, g in used], *[p for p, _ in used]]
    out: Tensor = _Settled.apply(*known)  # type: ignore[no-untyped-call]
    return out


class _Settled(torch.autograd.Function):
    """A number that depends on parameters by slopes that are known."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, count: int, *slopes_and_parameters: Tensor) -> Tensor:
        ctx.slopes = slopes_and_parameters[:count]
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        slopes, ctx.slopes = ctx.slopes, ()
        return (None, None, *(None for _ in slopes), *(grads[0] * slope for slope in slopes))
