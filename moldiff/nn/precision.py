"""Which precision a network runs in on a device."""

import os
from contextlib import AbstractContextManager

import torch

#: Shapes of matrix products in bfloat16 for which torch keeps code at hand on a CPU, in each of two
#: caches. By default it is a thousand; a sampling loop, whose batches are of every size,
#: then takes a gigabyte for it.
SHAPES = 64
_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def bound_caches() -> None:
    """Bounds those caches, unless the environment says otherwise or they are in use already."""
    for name in _CACHES:
        os.environ.setdefault(name, str(SHAPES))


def computes_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies matrices in bfloat16 itself, instead of emulating it slowly."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def resolved(device: torch.device, precision: str) -> str:
    """bf16 or fp32: the precision asked for, or for auto the one that the device is good at."""
    if precision == "auto":
        return "bf16" if computes_bfloat16(device) else "fp32"
    return precision


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """A block in which networks run in ``precision``: bf16, fp32, or auto."""
    return torch.autocast(device.type, torch.bfloat16, enabled=resolved(device, precision) == "bf16")
