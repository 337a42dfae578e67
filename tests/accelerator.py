"""A pretended accelerator, for machines without: tensors of the CPU that may not meet those marked as away.

Inside `PretendedAccelerator`, what is moved to or made on "cuda" stays in the CPU's memory with a mark.
Marked tensors say that they are on a GPU, and what one refuses most often raises: an operation on tensors of
both kinds, or numpy on a marked one. So code is held to naming no device, and computes what it computes here.
(A generator of random numbers of the wrong device passes; to put a CPU's tensor into a part of a marked one,
which a GPU takes, does not.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

HERE, AWAY = torch.device("cpu"), torch.device("cuda", 0)
_MARK = "_away"
#: What takes positions of the CPU for tensors anywhere, by the name of its function.
_INDEXING = {"__getitem__", "__setitem__"}


def is_away(value: object) -> bool:
    """Whether a value is a tensor that is marked."""
    return isinstance(value, Tensor) and getattr(value, _MARK, False)


def send_away(value: Any) -> Any:
    """Marks every tensor of a value, and every weight of a network."""
    tensors = [*value.parameters(), *value.buffers()] if isinstance(value, nn.Module) else tree_leaves(value)
    for each in tensors:
        if isinstance(each, Tensor):
            setattr(each, _MARK, True)
    return value


class PretendedAccelerator(TorchFunctionMode):
    """A block in which "cuda" is there; ``operations`` counts those on marked tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name, kwargs = getattr(func, "__name__", ""), dict(kwargs or {})
        if name == "__get__":
            return _attribute(func, args[0])
        if name in {"to", "cpu", "cuda"} and isinstance(args[0], Tensor):
            return _moved(func, name, args, kwargs)
        if name in {"numpy", "__array__"} and is_away(args[0]):
            raise TypeError("numpy of a tensor on an accelerator")
        asked = kwargs.get("device")
        if asked is not None:
            kwargs["device"] = HERE
            out = func(*args, **kwargs)
            # What was there already is given back as it is, by as_tensor for one, and keeps its place.
            out = out.clone() if any(out is each for each in args) else out
            return send_away(out) if torch.device(asked).type == "cuda" else out
        away = _meet(name, args, kwargs)
        self.operations += away
        out = func(*args, **kwargs)
        return send_away(out) if away else out


def _attribute(func: Any, tensor: Tensor) -> Any:
    """An attribute of a tensor, such as its device, its transpose or its gradient."""
    if func == Tensor.device.__get__:
        return AWAY if is_away(tensor) else HERE
    if func == Tensor.is_cuda.__get__:
        return is_away(tensor)
    out = func(tensor)
    return send_away(out) if is_away(tensor) else out


def _moved(func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A tensor after ``to``, ``cpu`` or ``cuda``; another object where it has moved."""
    tensor, *rest = args
    goal = {"cpu": HERE, "cuda": AWAY}.get(name, AWAY if is_away(tensor) else HERE)
    for place, each in enumerate(rest):
        if isinstance(each, (str, torch.device)):
            goal, rest[place] = torch.device(each), HERE
        elif isinstance(each, Tensor):
            goal = AWAY if is_away(each) else HERE
    if kwargs.get("device") is not None:
        goal, kwargs["device"] = torch.device(kwargs["device"]), HERE
    out: Tensor = func(tensor, *rest, **kwargs) if name == "to" else tensor
    if out is tensor and (goal.type == "cuda") != is_away(tensor):
        out = tensor.clone()
    return send_away(out) if goal.type == "cuda" else out


def _meet(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operation is one of the accelerator's; RuntimeError where its tensors are of both places."""
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    away = any(map(is_away, tensors))
    if name in _INDEXING:
        # The places may be here, what is taken or put may not.
        base, places, *put = args
        away = is_away(base)
        tensors = [base, *put] if away else tree_leaves((base, places, put))
    # A number of the CPU may join in anywhere.
    here = [each for each in tensors if isinstance(each, Tensor) and each.dim() > 0 and not is_away(each)]
    if any(map(is_away, tensors)) and here:
        raise RuntimeError(
            f"{name}: tensors on an accelerator and {[tuple(x.shape) for x in here]} on the CPU"
        )
    return away
