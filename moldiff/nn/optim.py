"""Muon for weight matrices and AdamW for the rest, as one optimizer."""

from collections.abc import Callable, Iterable
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer


@final
class MuonAdamW(Optimizer):
    """Two optimizers behind one face, so that a trainer counts one step a batch and one schedule moves both.

    Muon (Jordan et al., 2024) with its update scaled to the size of AdamW's (Liu et al., 2025), so that one
    rate fits both.
    """

    def __init__(
        self, matrices: Iterable[Tensor], others: Iterable[Tensor], lr: float, weight_decay: float
    ) -> None:
        matrices, others = list(matrices), list(others)
        super().__init__([*matrices, *others], {"lr": lr})
        muon = Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self.parts = (muon, AdamW(others, lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay))
        self._share_groups()

    def _share_groups(self) -> None:
        """Shows the parts' own groups, so that what a schedule writes reaches them."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both parts; the closure, if any, runs once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()  # type: ignore[no-untyped-call]
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of both parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a state as given by ``state_dict``."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()


def matrices_and_others(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The weight matrices inside ``network.blocks``, and every other parameter."""
    inside = {id(p) for p in cast(nn.Module, network.blocks).parameters() if p.ndim == 2}
    parameters = list(network.parameters())
    return [p for p in parameters if id(p) in inside], [p for p in parameters if id(p) not in inside]
