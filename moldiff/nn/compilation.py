"""Compiling a network's blocks with torch.compile, where a compiler is there."""

import importlib.util
from typing import cast

import torch
from torch import nn


def compiles(device: torch.device) -> bool:
    """Whether torch can compile for ``device`` here: Triton for a GPU, a C++ compiler for a CPU."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    if device.type != "cpu":
        return False
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        return False
    return True


def compile_blocks(network: nn.Module) -> None:
    """Has every module of ``network.blocks`` compiled at its first call, for rows of any number and length.

    The blocks are alike, so one of them is compiled and all use it: seconds, not a minute. Parameters keep
    their names, so weights and checkpoints are the same as without.
    """
    for block in cast(nn.ModuleList, network.blocks):
        block.compile(dynamic=True)
