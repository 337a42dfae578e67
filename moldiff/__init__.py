"""Molecule design with masked discrete diffusion, remasking samplers and guidance."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moldiff.chem.scores import Scores as Scores
    from moldiff.chem.scoring import Scorer as Scorer
    from moldiff.chem.scoring import score as score
    from moldiff.evaluation.evaluate import Evaluation as Evaluation
    from moldiff.evaluation.evaluate import evaluate as evaluate
    from moldiff.generation.model import Generation as Generation
    from moldiff.generation.model import Model as Model
    from moldiff.generation.model import load as load

__version__ = "0.1.0"

#: Public names and where they live. They load on first use, so that ``import moldiff`` is light.
_LAZY = {
    "Evaluation": "moldiff.evaluation.evaluate",
    "evaluate": "moldiff.evaluation.evaluate",
    "Generation": "moldiff.generation.model",
    "Model": "moldiff.generation.model",
    "load": "moldiff.generation.model",
    "Scorer": "moldiff.chem.scoring",
    "Scores": "moldiff.chem.scores",
    "score": "moldiff.chem.scoring",
    "MoldiffError": "moldiff.errors",
}

__all__ = [
    "Evaluation",
    "Generation",
    "Model",
    "MoldiffError",
    "Scorer",
    "Scores",
    "__version__",
    "evaluate",
    "load",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'moldiff' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
