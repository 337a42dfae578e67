"""Which precision a network runs in on a device."""

from contextlib import AbstractContextManager

import torch


def computes_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies matrices in bfloat16 itself, instead of emulating it slowly."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """A block in which networks run in ``precision``: bf16, fp32, or auto for what the device is good at."""
    fast = precision == "bf16" or (precision == "auto" and computes_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)
