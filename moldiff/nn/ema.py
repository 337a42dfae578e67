"""Exponential moving average of a network's weights."""

from typing import final

import torch
from torch import Tensor, nn


@final
class Ema:
    """A shadow of a network's parameters, moved towards them after every step.

    The decay warms up as min(decay, (1 + n) / (10 + n)) over updates n, so early weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow = {k: v.detach().clone() for k, v in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Moves the shadow towards the network's present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        current = dict(network.named_parameters())
        shadow = list(self.shadow.values())
        torch._foreach_lerp_(shadow, [current[k].detach() for k in self.shadow], 1 - decay)

    @torch.no_grad()
    def swap(self, network: nn.Module) -> None:
        """Exchanges shadow and weights; a second call undoes the first exactly."""
        for name, parameter in network.named_parameters():
            held = parameter.detach().clone()
            parameter.copy_(self.shadow[name])
            self.shadow[name].copy_(held)

    def to(self, device: torch.device) -> None:
        """Moves the shadow to ``device``."""
        self.shadow = {name: value.to(device) for name, value in self.shadow.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """The shadow and the number of updates, all tensors."""
        return {**self.shadow, "__updates__": torch.tensor(self.updates)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes a state as given by ``state_dict``."""
        self.updates = int(state["__updates__"])
        for name, value in self.shadow.items():
            value.copy_(state[name])
