"""The Fréchet ChemNet distance: how far two sets of molecules are apart in the features of a network.

Preuer et al., arXiv:1803.09518. Network and weights are those of the package fcd (the extra moldiff[fcd]);
the distance is `moments.frechet`, which needs no square root of a matrix that is not symmetric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moldiff.assembly import pick_device
from moldiff.chem.work import HERE, Work
from moldiff.errors import MoldiffError

Floats = NDArray[np.float64]

#: The package, and how it is installed.
PACKAGE, EXTRA = "fcd", "pip install 'moldiff[fcd]'"
#: Characters a row of the network's input has, one of them the end; longer rows would shift its features.
WIDTH = 350
#: Molecules that the network is asked about at once.
BATCH = 128

_WEIGHTS = "ChemNet_v0.13_pretrained.pt"


def installed() -> bool:
    """Whether the package is there."""
    try:
        return find_spec(PACKAGE) is not None
    except ValueError:  # a name that somebody has barred
        return False


def fits(smiles: str) -> bool:
    """Whether a molecule is short enough for the network."""
    return len(smiles) < WIDTH


def activations(smiles: Sequence[str], device: str = "auto", work: Work = HERE) -> Floats:
    """The features of molecules in the last hidden layer of ChemNet, (N, 512).

    Args:
        smiles: N canonical SMILES that `fits`.
        device: where the network runs.
        work: shows progress.

    Raises:
        MoldiffError: the package is not installed, or a molecule that is too long.
    """
    if not installed():
        raise MoldiffError(f"FCD: it needs the package {PACKAGE}, which is not installed: {EXTRA}")
    for text in smiles:
        if not fits(text):
            raise MoldiffError(f"FCD: got a SMILES of {len(text)} characters, the network takes {WIDTH - 1}")
    where = pick_device(device)
    network, one_hot = _network()
    network.to(where)
    found = [np.empty((0, 512))]
    with work.stages("ChemNet", len(smiles)) as tell, torch.inference_mode():
        for start in range(0, len(smiles), BATCH):
            rows = np.stack([one_hot(text, WIDTH) for text in smiles[start : start + BATCH]])
            # The package scales what it shows the network by the number of its tokens.
            x = torch.tensor(rows / rows.shape[2], dtype=torch.float32, device=where).transpose(1, 2)
            found.append(network(x).double().cpu().numpy())
            tell(start + len(rows))
    return np.concatenate(found)


def _network() -> tuple[torch.nn.Module, Callable[[str, int], Floats]]:
    """ChemNet with its weights, and what writes a molecule as its input."""
    import fcd
    from fcd.utils import get_one_hot

    # Given a path, the package reads its own file in place instead of copying it first.
    network: Any = fcd.load_ref_model(str(Path(fcd.__file__).with_name(_WEIGHTS)))
    return network, get_one_hot
