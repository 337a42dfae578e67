"""Molecule design with masked discrete diffusion, remasking samplers and guidance."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moldiff.generation import Generation as Generation
    from moldiff.generation import Model as Model
    from moldiff.generation import load as load

__version__ = "0.1.0"

#: Public names and where they live. They load on first use, so that ``import moldiff`` is light.
_LAZY = {
    "Generation": "moldiff.generation",
    "Model": "moldiff.generation",
    "load": "moldiff.generation",
    "MoldiffError": "moldiff.errors",
}

__all__ = ["Generation", "Model", "MoldiffError", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'moldiff' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
