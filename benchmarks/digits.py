"""Measures the shipped model `digits`: agreement with the asked class, and MDLM beside ReMDM by steps.

    python benchmarks/digits.py                   the tables, as markdown (some ten minutes on two cores)
    python benchmarks/digits.py --tune            the tuning that chose METHODS, on its own seeds
    python benchmarks/digits.py --model FOLDER    of another model

A set has as many images of each class, told to the model at a scale; its Fréchet distance is to all bundled
digits (docs/metrics.md). Both methods draw tokens with the same scale, temperature and nucleus. A standard
error is over seeds.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import moldiff
from moldiff.data.digit_features import shipped
from moldiff.data.image_files import read_images
from moldiff.data.image_tables import unspelt
from moldiff.moments import frechet

SEEDS, TUNING_SEEDS = (0, 1, 2), (100, 101, 102)
STEPS = (8, 16, 32, 64)
#: How the tokens of every method are drawn, and the methods; --tune chose both at 32 steps.
READOUT = {"temperature": 1.0, "top_p": 1.0, "scale": 1.0}
METHODS: dict[str, dict[str, Any]] = {
    "MDLM": {"sampler": "mdlm"},
    "ReMDM-rescale": {"sampler": "remdm-rescale", "eta": 0.1},
}
TRIED: list[dict[str, Any]] = [
    {"sampler": "mdlm"},
    *({"sampler": "remdm-conf", "eta": eta} for eta in (0.3, 0.9)),
    *({"sampler": "remdm-rescale", "eta": eta} for eta in (0.05, 0.2)),
    *({"sampler": "remdm-cap", "eta": eta} for eta in (0.05, 0.1)),
    {"sampler": "remdm-loop", "eta": 0.9},
]
READOUTS = [
    {"temperature": 1.0, "top_p": 1.0, "scale": 1.0},
    {"temperature": 0.8, "top_p": 1.0, "scale": 1.0},
    {"temperature": 1.0, "top_p": 0.95, "scale": 1.0},
    {"temperature": 1.0, "top_p": 1.0, "scale": 2.0},
]
#: Images of a set, and images a class where the class is asked.
SIZE, A_CLASS = 400, 40


def classes_file(folder: str, n: int) -> Path:
    """A file that asks for n images, of each class in turn."""
    path = Path(folder) / f"classes-{n}.csv"
    path.write_text("class\n" + "".join(f"{row % 10}\n" for row in range(n)))
    return path


def images_of(found: Any) -> np.ndarray:
    return np.stack([unspelt(cell) for cell in found.frame["raw"]])


def distance(model: Any, reference: np.ndarray, seed: int, n: int, **setting: Any) -> tuple[float, float]:
    """The Fréchet distance of n images, and the forwards that each took."""
    with tempfile.TemporaryDirectory() as folder:
        found = model.generate(targets_from=classes_file(folder, n), seed=seed, **setting)
    features = shipped().features(images_of(found))
    return frechet(features, reference), found.summary["forwards_per_image"]


def mean_se(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def over_seeds(
    model: Any, reference: np.ndarray, seeds: tuple[int, ...], n: int, **setting: Any
) -> tuple[float, float, float]:
    """The mean distance over seeds, its standard error, and the forwards an image."""
    cells = [distance(model, reference, seed, n, **setting) for seed in seeds]
    mean, se = mean_se([cell[0] for cell in cells])
    return mean, se, float(np.mean([cell[1] for cell in cells]))


def tune(model: Any, reference: np.ndarray, n: int) -> None:
    print("| sampler | eta | temperature | top-p | scale | frechet_digits | forwards |")
    print("|---|---|---|---|---|---|---|")
    for readout, method in itertools.product(READOUTS, TRIED):
        mean, se, cost = over_seeds(model, reference, TUNING_SEEDS, n, steps=32, **readout, **method)
        told = f"{method['sampler']} | {method.get('eta', '')} | " + " | ".join(map(str, readout.values()))
        print(f"| {told} | {mean:.3f} ± {se:.3f} | {cost:.1f} |", flush=True)


def by_steps(model: Any, reference: np.ndarray, n: int) -> None:
    print("| method | steps | frechet_digits | forwards an image |\n|---|---|---|---|")
    for steps, (name, method) in itertools.product(STEPS, METHODS.items()):
        mean, se, cost = over_seeds(model, reference, SEEDS, n, steps=steps, **READOUT, **method)
        print(f"| {name} | {steps} | {mean:.3f} ± {se:.3f} | {cost:.1f} |", flush=True)
    # What two sets of real digits have, as a floor: the distance is never quite 0 for a finite set.
    random = np.random.default_rng(0)
    halves = [random.permutation(len(reference)) for _ in SEEDS]
    found = [frechet(reference[order[:n]], reference) for order in halves]
    print(f"| {n} of the bundled digits | | {mean_se(found)[0]:.3f} ± {mean_se(found)[1]:.3f} | |")


def agreement(model: Any) -> None:
    print("| scale | agreement with the asked class |\n|---|---|")
    for scale in (1.0, 2.0):
        shares = []
        for seed in SEEDS:
            right = []
            for kind in range(10):
                asked = {"targets": f"class={kind}", "seed": 10 * seed + kind, "scale": scale}
                right += list(model.generate(A_CLASS, **asked).frame["class"] == kind)
            shares.append(float(np.mean(right)))
        mean, se = mean_se(shares)
        print(f"| {scale:g} | {100 * mean:.2f} ± {100 * se:.2f} % |", flush=True)


def speed(model: Any) -> None:
    model.generate(64, targets="class=7", seed=9)
    start = time.perf_counter()
    model.generate(64, targets="class=7")
    print(f"\n64 images of a class: {time.perf_counter() - start:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="digits")
    parser.add_argument("--tune", action="store_true", help="the tuning instead of the tables")
    parser.add_argument("--size", type=int, default=SIZE, help="images of a set")
    asked = parser.parse_args()
    model = moldiff.load(asked.model, device="cpu")
    reference = shipped().features(read_images(Path("digits")).images)
    if asked.tune:
        tune(model, reference, asked.size)
        return
    agreement(model)
    speed(model)
    print()
    by_steps(model, reference, asked.size)


if __name__ == "__main__":
    main()
