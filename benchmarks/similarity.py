"""Times nearest neighbours and internal diversity against RDKit's BulkTanimotoSimilarity, results compared.

    python benchmarks/similarity.py molecules.smi --asked 500 --known 20000

Prints processor time: milliseconds a molecule where the work grows with molecules, million pairs a second
where it grows with pairs, and the ratio to RDKit. It takes the first rows of the file: shuffle it before.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from moldiff.chem.distribution import scaffolds
from moldiff.chem.fingerprints import MOSES_BITS, RADIUS, morgan
from moldiff.chem.molecule import rdkit_version
from moldiff.chem.oracles import ORACLES, score
from moldiff.chem.similarity import mean_similarities, nearest
from moldiff.data.readers import read_smiles

T = TypeVar("T")


def timed(run: Callable[[], T]) -> tuple[T, float]:
    """A result and the seconds of processor time it took."""
    start = time.process_time()
    result = run()
    return result, time.process_time() - start


def main() -> None:
    """Prints one line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--asked", type=int, default=500)
    parser.add_argument("--known", type=int, default=20000)
    options = parser.parse_args()
    smiles = read_smiles(options.file).smiles[: options.asked + options.known]
    asked, known = smiles[: options.asked], smiles[options.asked :]
    print(f"RDKit {rdkit_version()}, {len(asked)} molecules beside {len(known)}, {MOSES_BITS} bits")

    for name, run in (
        ("fingerprint", lambda: morgan(asked)),
        ("scaffold", lambda: scaffolds(asked)),
        ("properties", lambda: score(asked, list(ORACLES))),
    ):
        run()  # loads what it needs
        print(f"{name}: {1000 * timed(run)[1] / len(asked):.3f} ms a molecule")

    make = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=MOSES_BITS)
    ours = morgan(asked), morgan(known)
    theirs = [[make.GetFingerprint(Chem.MolFromSmiles(text)) for text in part] for part in (asked, known)]

    (_, found), quick = timed(lambda: nearest(*ours))
    exact, slow = timed(lambda: bulk(theirs[0], theirs[1], max))
    assert (found == exact).all()
    report("nearest neighbours", len(asked) * len(known), quick, slow)

    # The square is symmetric: either way half of its pairs are looked at.
    means, quick = timed(lambda: mean_similarities(ours[1], np.ones(len(known)))[0])
    sums, slow = timed(lambda: bulk(theirs[1][: len(asked)], theirs[1], sum))
    assert np.allclose(means[: len(asked)] * len(known), sums)
    report("all pairs", len(known) ** 2 / 2, quick, slow * len(known) / len(asked) / 2)


def bulk(asked: Sequence[Any], known: Sequence[Any], figure: Callable[[list[float]], float]) -> np.ndarray:
    """A figure of each fingerprint's similarities, by RDKit."""
    return np.array([figure(DataStructs.BulkTanimotoSimilarity(each, known)) for each in asked])


def report(what: str, pairs: float, ours: float, theirs: float) -> None:
    """Prints two rates and their ratio."""
    rates = f"{pairs / ours / 1e6:.0f} and {pairs / theirs / 1e6:.1f} million pairs a second"
    print(f"{what}: {rates}, {theirs / ours:.0f} times RDKit's")


if __name__ == "__main__":
    main()
