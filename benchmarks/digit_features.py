"""Trains the classifier of 8 x 8 digits that comes with the package (data/digits.safetensors).

    python benchmarks/digit_features.py            trains, writes the file, prints its accuracy
    python benchmarks/digit_features.py --check    prints the accuracy of the file that is there

It learns from the bundled digits but for a tenth, drawn as `moldiff train digits` draws what it holds out, so
that neither the generator nor the classifier has seen these rows. Of its training images it also sees copies
shifted by a pixel to each side and each corner.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from moldiff.data.datasets import hold_out
from moldiff.data.digit_features import WEIGHTS, DigitClassifier
from moldiff.data.image_files import read_images
from moldiff.data.images import shifted

HIDDEN = (128, 32)
SHARE, SEED, EPOCHS = 0.1, 0, 60
MOVES = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]


def trained(images: np.ndarray, classes: np.ndarray) -> MLPClassifier:
    inputs = np.concatenate([shifted(images, *move) for move in MOVES]).reshape(-1, 64) / 255
    model = MLPClassifier(
        HIDDEN, alpha=1e-3, batch_size=256, learning_rate_init=2e-3, max_iter=EPOCHS, random_state=SEED
    )
    with warnings.catch_warnings():
        # It stops after a fixed number of epochs, on purpose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(inputs, np.tile(classes, len(MOVES)).astype(int))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="train nothing")
    found = read_images(Path("digits"))
    held = hold_out(len(found), SHARE, SEED)
    if not parser.parse_args().check:
        model = trained(found.images[~held], found.classes[~held])
        arrays = {
            **{f"weight.{i}": layer.astype(np.float32) for i, layer in enumerate(model.coefs_)},
            **{f"bias.{i}": layer.astype(np.float32) for i, layer in enumerate(model.intercepts_)},
        }
        save_file(arrays, WEIGHTS, {"made_by": "benchmarks/digit_features.py"})
    classifier = DigitClassifier.load(WEIGHTS)
    for name, rows in (("training", ~held), ("held out", held)):
        right = classifier.classes(found.images[rows]) == found.classes[rows]
        share, n = right.mean(), int(rows.sum())
        print(f"{name}: {share:.4f} ± {np.sqrt(share * (1 - share) / n):.4f} of {n}")
    print(f"{WEIGHTS.name}: {WEIGHTS.stat().st_size:,} bytes, {HIDDEN[-1]} features")


if __name__ == "__main__":
    main()
