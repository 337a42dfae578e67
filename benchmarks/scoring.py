"""Times scoring by a pool of processes against one process that calls RDKit directly on the same molecules.

    python benchmarks/scoring.py FILE.smi [--molecules 6000] [--workers 1 2]

The file holds one SMILES a line. The molecules are worked through in slices, each by every way in turn, so
that another load on the machine falls on all of them alike. A ratio is that of the sums over the slices;
beside it are the quartiles over slices. Processes are started beforehand, and that is timed apart. The
processor time is that of this process alone, and changes less with other loads: where workers do the work,
it is what handing it out costs.
"""

import argparse
import gzip
import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice

from rdkit import Chem, rdBase
from rdkit.Chem import QED, Descriptors, rdMolDescriptors
from rdkit.Contrib.SA_Score import sascorer

from moldiff.chem.molecule import canonical
from moldiff.chem.oracles import ORACLES
from moldiff.chem.pool import shared
from moldiff.chem.scoring import Scorer

#: The properties that `moldiff score` computes by default, as RDKit's documentation calls them.
DIRECT: dict[str, Callable[[Chem.Mol], float]] = {
    "qed": QED.qed,
    "logp": Descriptors.MolLogP,
    "sa": sascorer.calculateScore,
    "tpsa": Descriptors.TPSA,
    "mw": Descriptors.MolWt,
    "ring_count": lambda mol: len(Chem.GetSymmSSSR(mol)),
    "heavy_atoms": lambda mol: mol.GetNumHeavyAtoms(),
    "hbd": rdMolDescriptors.CalcNumHBD,
    "hba": rdMolDescriptors.CalcNumHBA,
}
LIMIT = 60.0

#: From molecules to the values of each property.
Way = Callable[[list[str]], dict[str, list[float]]]


def direct(smiles: list[str]) -> dict[str, list[float]]:
    """One process, RDKit alone, each string parsed once."""
    rows = []
    for text in smiles:
        mol = Chem.MolFromSmiles(text)
        rows.append([function(mol) for function in DIRECT.values()])
    return dict(zip(DIRECT, map(list, zip(*rows, strict=True)), strict=True))


def scored(workers: int, timeout: float | None) -> Way:
    """What `moldiff score` does with that many processes; without a limit one is this one."""

    def run(smiles: list[str]) -> dict[str, list[float]]:
        with Scorer(list(ORACLES), workers=workers, timeout=timeout) as scorer:
            return {name: values.tolist() for name, values in scorer(smiles, canonical=True).values.items()}

    return run


def read(path: str, count: int) -> list[str]:
    """Distinct valid molecules of a file, in canonical spelling."""
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file, rdBase.BlockLogs():
        found = (canonical(line.split()[0]) for line in file if line.strip())
        return list(islice(dict.fromkeys(text for text in found if text is not None), count))


def report(wall: dict[str, list[float]], used: dict[str, list[float]], size: int) -> None:
    """Prints a line a way."""
    base = wall["direct"]
    print(f"{len(base)} slices of {size} molecules, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, times in wall.items():
        ratios = [one / other for one, other in zip(base, times, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4) if len(base) > 1 else ratios * 3
        rate = len(base) * size / sum(times)
        share = 100 * sum(used[name]) / sum(used["direct"])
        print(
            f"{name}: {rate:.0f} molecules/s, {sum(base) / sum(times):.3f} times direct ({low:.3f} to "
            f"{high:.3f}); processor time here {share:.1f} % of direct"
        )


def main() -> None:
    """Times all ways, and fails where their values differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--molecules", type=int, default=6000)
    parser.add_argument("--slice", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    smiles = read(asked.file, asked.molecules)
    if len(smiles) < asked.slice:
        sys.exit(f"{asked.file} holds {len(smiles)} molecules, fewer than a slice")
    ways: dict[str, Way] = {"direct": direct, "in this process": scored(1, None)}
    ways |= {f"{count} worker{'s' * (count > 1)}": scored(count, LIMIT) for count in asked.workers}
    for name, way in ways.items():
        start = time.perf_counter()
        way(smiles[:64])  # starts processes, loads tables
        print(f"{name}: ready after {time.perf_counter() - start:.2f} s")
    wall: dict[str, list[float]] = {name: [] for name in ways}
    used: dict[str, list[float]] = {name: [] for name in ways}
    for first in range(0, len(smiles) - asked.slice + 1, asked.slice):
        part = smiles[first : first + asked.slice]
        found = {}
        for name, way in ways.items():
            start, busy = time.perf_counter(), time.process_time()
            found[name] = way(part)
            used[name].append(time.process_time() - busy)
            wall[name].append(time.perf_counter() - start)
        if any(each != found["direct"] for each in found.values()):
            sys.exit("the values differ")
    report(wall, used, asked.slice)
    shared().close()


if __name__ == "__main__":
    main()
